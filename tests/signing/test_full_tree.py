"""Everything that a policy can allow, asked for at once: openssl and asn1crypto read it back as it was asked for."""

import asyncio
import json
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
_EXAMPLE = Path(__file__).parents[2] / "examples/full-tree"
POLICY: dict[str, Any] = json.loads((_EXAMPLE / "policy.json").read_bytes())
REQUEST: dict[str, Any] = json.loads((_EXAMPLE / "request.json").read_bytes())


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
