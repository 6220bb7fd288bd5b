"""The kinds of key pair that the service makes."""

from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyAlgorithm(StrEnum):
    """A key type and its size."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P_256 = "p-256"
    P_384 = "p-384"


RSA_BITS = {KeyAlgorithm.RSA_2048: 2048, KeyAlgorithm.RSA_3072: 3072, KeyAlgorithm.RSA_4096: 4096}
CURVES: dict[KeyAlgorithm, type[ec.EllipticCurve]] = {
    KeyAlgorithm.P_256: ec.SECP256R1,
    KeyAlgorithm.P_384: ec.SECP384R1,
}


def public_key_der(key: PublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_of(der: bytes) -> PublicKey:
    """Return the RSA or EC key of a SubjectPublicKeyInfo; raises `ValueError`."""
    key = load_der_public_key(der)
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return key
    raise ValueError("neither RSA nor EC")


def algorithm_of(key: PublicKey) -> KeyAlgorithm:
    """Return the kind of a public key; raises `ValueError` for one that is not made here."""
    for algorithm in KeyAlgorithm:
        if isinstance(key, rsa.RSAPublicKey):
            if RSA_BITS.get(algorithm) == key.key_size:
                return algorithm
        elif algorithm in CURVES and isinstance(key.curve, CURVES[algorithm]):
            return algorithm
    raise ValueError("a kind of key that is not made here")
