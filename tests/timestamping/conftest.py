"""A small PKI for time-stamps: a root and one TSA certificate for each kind of key."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intaglio.timestamping.authority import Authority

_SINCE = datetime(2025, 1, 1, tzinfo=UTC)
_UNTIL = datetime(2045, 1, 1, tzinfo=UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COUNTRY_NAME, "NL"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(
    subject: str,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("Test Root"))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(certificates=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256())


@cache
def _root() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate("Test Root", key.public_key(), key, authority=True)


@cache
def _tsa(kind: str) -> tuple[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, x509.Certificate]:
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "rsa-2048":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key({"p-256": ec.SECP256R1(), "p-384": ec.SECP384R1()}[kind])
    return key, _certificate("Test TSA", key.public_key(), _root()[0], authority=False)


@pytest.fixture
def root() -> x509.Certificate:
    return _root()[1]


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 10, 1, 12, 30, 5, 120456, tzinfo=UTC)


@pytest.fixture
def policy() -> str:
    return "1.3.6.1.4.1.99999.1.2"


@pytest.fixture(params=["rsa-2048", "p-256", "p-384"])
def authority(request: pytest.FixtureRequest, policy: str) -> Authority:
    key, certificate = _tsa(request.param)
    return Authority(certificate, [_root()[1]], key, policy, timedelta(seconds=1))


@pytest.fixture
def quick(policy: str) -> Authority:
    """Return an authority with one kind of key, where the kind is of no importance."""
    key, certificate = _tsa("p-256")
    return Authority(certificate, [_root()[1]], key, policy, timedelta(milliseconds=500))
