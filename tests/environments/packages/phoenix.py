"""Phoenix names its constraints by convention."""

import sqlalchemy as sa

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_`%(constraint_name)s`",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def prepare(source):
    return {"target_metadata": sa.MetaData(naming_convention=CONVENTION)}
