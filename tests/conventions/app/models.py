"""Metadata whose names are made by functions of the project."""

from sqlalchemy import MetaData


def _columns(constraint, table):
    """All columns, which SQLAlchemy's own tokens number."""
    return "_".join((c if isinstance(c, str) else c.name) for c in constraint.columns)


def _unique(constraint, table):
    return "uq_" if constraint.unique else ""


def _short(constraint, table):
    name = table.name.replace("orders", "ord")
    return f"{name}_" + "-".join(sorted(column.name for column in constraint.columns)).upper()


naming_convention = {
    "fk": "fk_%(table_name)s_%(columns)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(unique)s%(table_name)s_%(columns)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "uq": "uq_%(short)s_%(last)s",
    "columns": _columns,
    "unique": _unique,
    "short": _short,
    "last": lambda constraint, table: "_".join([column.name for column in constraint.columns.values()]),
}

metadata = MetaData(naming_convention=naming_convention)
