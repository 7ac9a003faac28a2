"""Nova's first revision lists the types of key pairs."""

from stand_ins import set_attributes

STUB = ("nova",)
REAL = ("nova.db.types",)


def prepare(source):
    keypair = set_attributes("nova.objects.keypair", KEYPAIR_TYPE_SSH="ssh", KEYPAIR_TYPE_X509="x509")
    set_attributes("nova.objects", keypair=keypair)
    return {}
