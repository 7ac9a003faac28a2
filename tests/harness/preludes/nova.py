"""Nova's first revision lists the types of key pairs."""

from prelude import set_attributes


def prepare(source):
    keypair = set_attributes("nova.objects.keypair", KEYPAIR_TYPE_SSH="ssh", KEYPAIR_TYPE_X509="x509")
    set_attributes("nova.objects", keypair=keypair)
    return {}
