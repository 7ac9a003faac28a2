"""Keystone's revisions use SQLAlchemy through `keystone.common.sql`."""

from types import SimpleNamespace

import sqlalchemy as sa
from stand_ins import TextType, set_attributes

STUB = ("keystone",)

REEXPORTED = (
    "BigInteger Boolean CheckConstraint Column Date DateTime Enum Float ForeignKey ForeignKeyConstraint Index Integer"
    " MetaData PrimaryKeyConstraint String Table Text Unicode UnicodeText UniqueConstraint"
)


class DateTimeInt(sa.types.TypeDecorator):
    impl = sa.BigInteger
    cache_ok = True


def prepare(source):
    names = {name: getattr(sa, name) for name in REEXPORTED.split()}
    set_attributes("keystone.common.sql", JsonBlob=TextType, DateTimeInt=DateTimeInt, **names)
    conf = SimpleNamespace(
        identity=SimpleNamespace(default_domain_id="default"), saml=SimpleNamespace(relay_state_prefix="ss:mem:")
    )
    set_attributes("keystone.conf", CONF=conf)
    kinds = {
        "USER_PROJECT": "UserProject",
        "GROUP_PROJECT": "GroupProject",
        "USER_DOMAIN": "UserDomain",
        "GROUP_DOMAIN": "GroupDomain",
    }
    set_attributes("keystone.assignment.backends.sql", AssignmentType=SimpleNamespace(**kinds))
    entity = SimpleNamespace(USER="user", GROUP="group")
    set_attributes("keystone.identity.mapping_backends.mapping", EntityType=entity)
    return {}
