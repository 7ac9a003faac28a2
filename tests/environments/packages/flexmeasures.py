"""FlexMeasures names its constraints by convention, and moves data through two models."""

from types import SimpleNamespace

import sqlalchemy as sa
from stand_ins import literals, set_attributes
from sqlalchemy.orm import declarative_base

STUB = ("flexmeasures",)
REAL = ("flexmeasures.data.models.legacy_migration_utils",)


def prepare(source):
    def ex_ante(ex_ante_horizon=None, a=None): ...

    def ex_post(event_resolution=None, ex_post_horizon=None): ...

    def at_date(knowledge_time=None, b=None): ...

    horizons = SimpleNamespace(ex_ante=ex_ante, ex_post=ex_post, at_date=at_date)
    set_attributes("timely_beliefs.sensors.func_store", knowledge_horizons=horizons)

    base = declarative_base()

    class Account(base):
        __tablename__ = "account"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)

    class User(base):
        __tablename__ = "fm_user"
        id = sa.Column(sa.Integer, primary_key=True)
        email = sa.Column(sa.String)
        account_id = sa.Column(sa.Integer)

    set_attributes("flexmeasures.data.models.user", Account=Account, User=User)
    convention = literals(source / "flexmeasures/data/models/__init__.py")["naming_convention"]
    return {"target_metadata": sa.MetaData(naming_convention=convention)}
