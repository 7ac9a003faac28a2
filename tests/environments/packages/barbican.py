"""Barbican keeps JSON in a column type of its own."""

from types import SimpleNamespace

from stand_ins import TextType, set_attributes

STUB = ("barbican",)


def prepare(source):
    set_attributes("barbican", model=SimpleNamespace(models=SimpleNamespace(JsonBlob=TextType)))
    return {}
