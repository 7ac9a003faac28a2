"""Magnum keeps JSON in column types of its own."""

from stand_ins import TextType, set_attributes

STUB = ("magnum",)
SKIP = ("c04e925e65c2", "95096e2334ee")


def prepare(source):
    set_attributes("magnum.db.sqlalchemy.models", JSONEncodedList=TextType, JSONEncodedDict=TextType)
    return {}
