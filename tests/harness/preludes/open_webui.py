"""Open WebUI keeps JSON in a column type of its own."""

from prelude import TextType, set_attributes


def prepare(source):
    set_attributes("open_webui.internal.db", JSONField=TextType)
    return {}
