"""Magnum keeps JSON in column types of its own."""

from prelude import TextType, set_attributes


def prepare(source):
    set_attributes("magnum.db.sqlalchemy.models", JSONEncodedList=TextType, JSONEncodedDict=TextType)
    return {}
