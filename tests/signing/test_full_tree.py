"""Everything that a policy can allow, asked for at once: openssl and asn1crypto read it back as it was asked for."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asn1crypto.core
import asn1crypto.x509
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from intaglio.errors import ContentRefused
from intaglio.pki.extensions import QC_STATEMENTS
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.signing.identity import create_identity
from onboarded import caller, small_home
from served import BIN, run

OWN = "1.3.6.1.4.1.99999.7"
POLICY: dict[str, Any] = {
    "subject_dn": {
        **{
            field: {"presence": "OPTIONAL"}
            for field in (
                "common_name", "given_name", "surname", "pseudonym", "organization", "organization_identifier",
                "country", "state", "locality", "street_address", "postal_code", "email", "serial_number",
                "business_category", "jurisdiction_of_incorporation_locality_name",
                "jurisdiction_of_incorporation_country_name",
                "jurisdiction_of_incorporation_state_or_province_name",
            )
        },
        "organizational_unit": {"list": [], "maxcount": 4},
        "extra_attributes": {"2.5.4.12": {"value_type": "UTF8STRING", "value_format": ".*"}},
    },
    "subject_da": {
        "gender": {"presence": "OPTIONAL"},
        "date_of_birth": "OPTIONAL",
        "place_of_birth": {"presence": "OPTIONAL"},
        "country_of_citizenship": {"list": [], "maxcount": 2},
        "country_of_residence": {"list": [], "maxcount": 2},
    },
    "san": {
        "emails": {"list": [], "maxcount": 2},
        "uris": {"list": [], "maxcount": 2},
        "other_names": {"1.3.6.1.4.1.311.20.2.3": {"value_type": "UTF8STRING"}},
    },
    "key_usages": {"digital_signature": "OPTIONAL", "content_commitment": "OPTIONAL"},
    "extended_key_usages": {"ekus": {"list": [], "maxcount": 4}, "critical": False},
    "qualified_statements": {
        "semantics": {"identifier": {"presence": "OPTIONAL"}, "name_authorities": {"list": [], "maxcount": 2}},
        "etsi_qc_type": {"presence": "OPTIONAL"},
        "etsi_qc_retention_period": {"presence": "OPTIONAL", "min": 1, "max": 30},
        "etsi_qc_pds": {"presence": "OPTIONAL"},
    },
    "ms_extension_template": {
        "template_id": {"presence": "OPTIONAL"},
        "major_version": {"presence": "OPTIONAL", "min": 0, "max": 100},
        "minor_version": {"presence": "OPTIONAL", "min": 0, "max": 100},
    },
    "custom_extensions": {OWN: {"presence": "OPTIONAL", "value_type": "UTF8STRING"}},
    "signature": {
        "algorithm": {"presence": "OPTIONAL", "list": ["RSA", "ECDSA"]},
        "hash_algorithm": {"presence": "OPTIONAL", "list": ["SHA-256", "SHA-384"]},
    },
    "validity": {"secondsmin": 60, "secondsmax": 300},
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "subject_dn": {
        "common_name": "Søren Łukasz 漢字",
        "given_name": "Søren",
        "surname": "Łukasz",
        "organization": "Müller & Söhne, Inc.",
        "organization_identifier": "VATDE-123456789",
        "organizational_unit": ["Zweite", "Erste"],
        "country": "DE",
        "state": "Hamburg",
        "locality": "Hamburg",
        "street_address": "Große Bleichen 1",
        "postal_code": "20354",
        "email": "s.lukasz@example.com",
        "serial_number": "PNODE-1234",
        "business_category": "Private Organization",
        "jurisdiction_of_incorporation_locality_name": "Hamburg",
        "jurisdiction_of_incorporation_state_or_province_name": "Hamburg",
        "jurisdiction_of_incorporation_country_name": "DE",
        "extra_attributes": [{"type": "2.5.4.12", "value": "Prokurist"}],
    },
    "subject_da": {
        "gender": "m",
        "date_of_birth": "1979-01-31",
        "place_of_birth": "Łódź",
        "country_of_citizenship": ["DE", "PL"],
        "country_of_residence": ["DE"],
    },
    "san": {
        "emails": ["s.lukasz@example.com", "łukasz@example.com"],
        "uris": ["https://example.com/s"],
        "other_names": [{"type": "1.3.6.1.4.1.311.20.2.3", "value": "s@example.com"}],
    },
    "key_usages": {"content_commitment": True},
    "extended_key_usages": ["1.3.6.1.4.1.311.10.3.12", "1.3.6.1.5.5.7.3.36"],
    "qualified_statements": {
        "semantics": {"identifier": "0.4.0.194121.1.1", "name_authorities": ["ra@example.com"]},
        "etsi_qc_type": "0.4.0.1862.1.6.1",
        "etsi_qc_retention_period": 10,
        "etsi_qc_pds": {"en": "https://example.com/pds", "de": "https://example.com/pds-de"},
    },
    "ms_extension_template": {"id": "1.2.3.4", "major_version": 3, "minor_version": 7},
    "custom_extensions": {OWN: "SOME TEXT"},
    "signature": {"algorithm": "ECDSA", "hash_algorithm": "SHA-256"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = small_home(tmp_path_factory.mktemp("tree") / "home", public_url="http://pki.example.com")
    yield made
    made.close()


def issued(home: Home, request: Any) -> x509.Certificate:
    who = caller(home, **POLICY)

    async def walk() -> bytes:
        async with running(home) as service:
            return (await create_identity(service.engine, who, request, "r1")).certificate

    return x509.load_der_x509_certificate(asyncio.run(walk()))


@pytest.fixture(scope="module")
def certificate(home: Home) -> x509.Certificate:
    return issued(home, REQUEST)


def test_asn1crypto_reads_the_names_as_they_were_sent(certificate: x509.Certificate) -> None:
    read = asn1crypto.x509.Certificate.load(certificate.public_bytes(Encoding.DER), strict=True)
    dn = REQUEST["subject_dn"]
    subject = read.subject.native
    assert subject["common_name"] == dn["common_name"]
    assert subject["organizational_unit_name"] == dn["organizational_unit"]
    assert subject["organization_name"] == dn["organization"]
    assert subject["organization_identifier"] == dn["organization_identifier"]
    assert subject["title"] == "Prokurist"
    sent = {value for value in dn.values() if isinstance(value, str)} | set(dn["organizational_unit"]) | {"Prokurist"}
    found = {one.native for rdn in read.subject.chosen for one in [pair["value"] for pair in rdn]}
    assert found == sent
    names = {(one.name, str(one.native)) for one in read.subject_alt_name_value}
    assert ("rfc822_name", "s.lukasz@example.com") in names
    assert ("uniform_resource_identifier", "https://example.com/s") in names
    # RFC 9598: what has no place in an rfc822Name
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    others = {one.type_id.dotted_string: one.value for one in san.get_values_for_type(x509.OtherName)}
    assert others["1.3.6.1.5.5.7.8.9"].decode() == "\x0c\x13łukasz@example.com"


def test_asn1crypto_reads_the_statements(certificate: x509.Certificate) -> None:
    extension = certificate.extensions.get_extension_for_oid(QC_STATEMENTS)
    assert not extension.critical
    statements: dict[str, Any] = {
        one[0].native: one[1].native if len(one) > 1 else None for one in _sequences(extension.value.public_bytes())
    }
    assert list(statements) == [
        "1.3.6.1.5.5.7.11.2",
        "0.4.0.1862.1.3",
        "0.4.0.1862.1.5",
        "0.4.0.1862.1.6",
    ]
    assert statements["0.4.0.1862.1.3"] == 10
    disclosures = statements["0.4.0.1862.1.5"]
    assert [list(one.values()) for one in disclosures.values()] == [
        ["https://example.com/pds", "en"],
        ["https://example.com/pds-de", "de"],
    ]
    assert list(statements["0.4.0.1862.1.6"].values()) == ["0.4.0.1862.1.6.1"]


def _sequences(encoded: bytes) -> list[list[Any]]:
    """Return the elements of each sequence in a sequence."""
    return [list(_parsed(one)) for one in _parsed(asn1crypto.core.load(encoded))]


def _parsed(sequence: Any) -> list[Any]:
    return [sequence[place] for place in range(len(sequence))]


def test_what_stands_in_place_of_the_profiles_own(certificate: x509.Certificate) -> None:
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.content_commitment) == (False, True)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert [one.dotted_string for one in purposes.value] == REQUEST["extended_key_usages"]
    template = extensions.get_extension_for_class(x509.MSCertificateTemplate).value
    assert (template.template_id.dotted_string, template.major_version, template.minor_version) == ("1.2.3.4", 3, 7)
    own = extensions.get_extension_for_oid(x509.ObjectIdentifier(OWN)).value
    assert own.public_bytes() == b"\x0c\x09SOME TEXT"
    # what the profile has, and nobody asked about
    assert extensions.get_extension_for_oid(ExtensionOID.CERTIFICATE_POLICIES)
    assert extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_INFORMATION_ACCESS)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() == 299


def test_openssl_and_pkilint_have_nothing_to_say(certificate: x509.Certificate, tmp_path: Path) -> None:
    path = tmp_path / "full.crt"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    text = run("openssl", "x509", "-in", path, "-noout", "-text", "-nameopt", "utf8").stdout.decode()
    assert "Microsoft Document Signing" in text or "1.3.6.1.4.1.311.10.3.12" in text
    assert "Non Repudiation" in text
    assert "Digital Signature" not in text
    found = run(BIN / "lint_pkix_cert", "lint", "-s", "WARNING", path, check=False)
    assert found.stdout.decode().strip() == ""


def test_what_the_issuer_cannot_do_is_refused_by_name(home: Home) -> None:
    with pytest.raises(ContentRefused) as refused:
        issued(home, {**REQUEST, "signature": {"algorithm": "RSA", "hash_algorithm": "SHA-384"}})
    assert set(refused.value.fields) == {"signature.algorithm", "signature.hash_algorithm"}


def test_the_profiles_own_stays_where_nothing_is_sent(home: Home) -> None:
    simple = issued(home, {"subject_dn": {"common_name": "A"}}).extensions
    usage = simple.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.content_commitment) == (True, True)
    assert len(simple.get_extension_for_class(x509.ExtendedKeyUsage).value) == 2
    assert QC_STATEMENTS not in {one.oid for one in simple}
