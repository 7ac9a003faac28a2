"""Open WebUI keeps JSON in a column type of its own."""

from stand_ins import TextType, set_attributes

STUB = ("open_webui",)
REAL = ("open_webui.migrations.util",)


def prepare(source):
    set_attributes("open_webui.internal.db", JSONField=TextType)
    return {}
