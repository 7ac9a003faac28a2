"""Designate's first revision inserts the default pool, whose id is configured."""

import uuid
from types import SimpleNamespace

from stand_ins import set_attributes

STUB = ("designate",)
REAL = ("designate.storage.sqlalchemy.types", "designate.storage.sqlalchemy.alembic")
SKIP = ("f49c4409c8ba",)


def prepare(source):
    central = SimpleNamespace(default_pool_id="794ccc2c-d751-44fe-b57f-8894c9f5c842")
    set_attributes("designate.conf", CONF={"service:central": central})
    set_attributes("designate.utils", generate_uuid=lambda: str(uuid.uuid4()))
    return {}
