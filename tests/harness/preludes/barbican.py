"""Barbican keeps JSON in a column type of its own."""

from types import SimpleNamespace

from prelude import TextType, set_attributes


def prepare(source):
    set_attributes("barbican", model=SimpleNamespace(models=SimpleNamespace(JsonBlob=TextType)))
    return {}
