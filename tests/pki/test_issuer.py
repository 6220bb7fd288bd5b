"""A certificate as the issuer writes it is, to the last octet, the one that pyca's builder would make."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import cases
from intaglio.errors import IssuanceRefused
from intaglio.keys.algorithm import PublicKey
from intaglio.pki.hierarchy import subject
from intaglio.pki.issuer import Issuer, new_serials
from intaglio.pki.profiles import PROFILES
from intaglio.pki.publication import Publication

# PKCS#1 v1.5 is deterministic: two certificates are the same if everything in them is.
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: list[PublicKey] = [
    KEY.public_key(),
    ec.generate_private_key(ec.SECP256R1()).public_key(),
    ec.generate_private_key(ec.SECP384R1()).public_key(),
]
ISSUER = Issuer(
    "issuing", None, KEY, Publication("http://pki.example.com"), subject=subject("Müller & Söhne", "Issuing CA")
)

printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=16)
names = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SURNAME]), printable),
        st.tuples(st.just(NameOID.COUNTRY_NAME), st.sampled_from(["DE", "GB"])),
        st.tuples(st.just(NameOID.SERIAL_NUMBER), st.from_regex(r"[A-Z0-9]{1,12}", fullmatch=True)),
    ),
    min_size=1,
    max_size=5,
).map(lambda found: x509.Name([x509.NameAttribute(oid, value) for oid, value in found]))
further = st.one_of(
    st.binary(min_size=1, max_size=300).map(
        lambda value: x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.1.840113549"), value)
    ),
    st.just(x509.SubjectAlternativeName([x509.RFC822Name("a@example.com"), x509.DNSName("example.com")])),
)


@settings(deadline=None, max_examples=cases(60))
@given(
    # Profiles of ETSI take no names but those that follow the standard.
    profile=st.sampled_from(sorted(name for name, one in PROFILES.items() if name != "root" and one.naming is None)),
    name=names,
    key=st.sampled_from(KEYS),
    extensions=st.lists(st.tuples(further, st.booleans()), max_size=1),
    # UTCTime, and GeneralizedTime from 2050 on
    now=st.datetimes(datetime(2026, 1, 1), datetime(2120, 1, 1)).map(lambda value: value.replace(tzinfo=UTC)),  # noqa: DTZ001
    serial=st.integers(1 << 64, (1 << 159) - 1),
)
def test_it_is_what_the_library_makes(
    profile: str,
    name: x509.Name,
    key: PublicKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
    now: datetime,
    serial: int,
) -> None:
    prepared = ISSUER.prepare(profile, subject=name, public_key=key, now=now, extensions=extensions, serial=serial)
    builder = x509.CertificateBuilder(
        issuer_name=ISSUER.subject,
        subject_name=name,
        public_key=key,
        serial_number=serial,
        not_valid_before=prepared.not_before.replace(tzinfo=None),
        not_valid_after=prepared.not_after.replace(tzinfo=None),
        extensions=prepared.extensions,
    )
    assert x509.SubjectKeyIdentifier.from_public_key(key) in [one.value for one in prepared.extensions]
    assert ISSUER.sign(prepared) == builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)


def test_serial_numbers_are_in_the_order_of_time_and_random_behind_it() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    drawn = new_serials(now, 1000)
    assert len(set(drawn)) == 1000
    assert drawn == sorted(drawn)
    assert all((serial - (1 << 158)).bit_length() <= 158 for serial in drawn)
    assert drawn[-1] < new_serials(now + timedelta(milliseconds=1), 1)[0]
    # one that is longer than twenty octets, or short, is refused wherever it comes from
    for serial in (1 << 159, 1):
        with pytest.raises(IssuanceRefused, match="serial number"):
            ISSUER.prepare(
                "aatl-a-seal", subject=subject("A", "B"), public_key=KEY.public_key(), now=now, serial=serial
            )
