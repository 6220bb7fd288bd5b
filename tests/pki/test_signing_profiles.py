"""Each profile of signers is what `docs/certificate-profiles.md` says; others read every extension back."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID
from pyhanko.keys import load_cert_from_pemder
from pyhanko.sign.ades.qualified_asn1 import get_qc_statements
from pyhanko.sign.validation.qualified.assess import QualificationAssessor
from pyhanko.sign.validation.qualified.tsp import QcCertType

from founded import ARC, NOW, PUBLICATION, SUBJECTS, Pki
from intaglio.errors import RuleBroken
from intaglio.pki.lint import Accreditation
from intaglio.pki.profiles import DOCUMENT_SIGNING, SIGNING, Declared, Holder, Profile
from intaglio.pki.subject import name
from intaglio.revocation import crl, ocsp
from intaglio.revocation.register import Standing, State
from served import run

EVERY = sorted(SIGNING)
SHORT_TERM = x509.ObjectIdentifier("0.4.0.194121.2.1")
NO_REVOCATION = x509.ObjectIdentifier("2.5.29.56")
QC_STATEMENTS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
TIME_STAMP = x509.ObjectIdentifier("1.2.840.113583.1.1.9.1")
ARCHIVE = x509.ObjectIdentifier("1.2.840.113583.1.1.9.2")
ALWAYS = {
    ExtensionOID.KEY_USAGE, ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    SHORT_TERM,
}  # fmt: skip
ADOBE = {TIME_STAMP, ARCHIVE}
USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
          "key_cert_sign", "crl_sign")  # fmt: skip


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


def issued(pki: Pki, profile: str) -> x509.Certificate:
    return pki.leaf(profile, accredited=profile.startswith("qualified"))


def usage(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    return {one for one in USAGES if getattr(found.value, one)}


def purposes(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert not found.critical
    return {oid.dotted_string for oid in found.value}


def statements(certificate: x509.Certificate) -> dict[str, object]:
    held = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    return {one["statement_id"].native: one["statement_info"].native for one in get_qc_statements(held)}


def reread(path: Path) -> asn1_x509.Certificate:
    """Return a certificate as pyHanko reads it."""
    return load_cert_from_pemder(str(path))  # type: ignore[no-untyped-call]


# What all have -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", EVERY)
def test_every_signing_certificate(pki: Pki, profile: str) -> None:
    certificate = issued(pki, profile)
    certificate.verify_directly_issued_by(pki["issuing"])
    assert certificate.not_valid_before_utc == NOW.replace(microsecond=0)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(seconds=599)
    assert 64 <= certificate.serial_number.bit_length() <= 159
    critical = {extension.oid for extension in certificate.extensions if extension.critical}
    assert critical == {ExtensionOID.KEY_USAGE}
    assert certificate.extensions.get_extension_for_oid(SHORT_TERM).value.public_bytes() == b"\x05\x00"
    assert purposes(certificate) & DOCUMENT_SIGNING


@pytest.mark.parametrize("profile", EVERY)
def test_the_policy_and_where_its_practice_statement_is(pki: Pki, profile: str) -> None:
    policies = issued(pki, profile).extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policies[0].policy_identifier.dotted_string.startswith(f"{ARC}.1.")
    assert policies[0].policy_qualifiers == ["https://example.com/cps"]
    if not profile.startswith("qualified"):
        tested = pki.leaf(profile, "test-issuing").extensions.get_extension_for_class(x509.CertificatePolicies).value
        suffix = policies[0].policy_identifier.dotted_string.removeprefix(f"{ARC}.1.")
        assert tested[0].policy_identifier.dotted_string == f"{ARC}.2.{suffix}"


def test_no_two_profiles_have_one_policy(pki: Pki) -> None:
    held = [
        issued(pki, one).extensions.get_extension_for_class(x509.CertificatePolicies).value[0].policy_identifier
        for one in EVERY
    ]
    assert len(set(held)) == len(held)


def test_a_profiles_own_practice_statement_and_further_policies(pki: Pki) -> None:
    own = {
        "cps": "https://own.example/cps",
        "policies": ["0.4.0.2042.1.1"],
        "adobe_time_stamp": "https://own.example/tsa",
    }
    profile = msgspec.structs.replace(SIGNING["aatl-a-seal"], name="own", version=3, **own)
    certificate = pki.leaf(profile)
    policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert [(one.policy_identifier.dotted_string, one.policy_qualifiers) for one in policies] == [
        (f"{ARC}.1.1.2", ["https://own.example/cps"]),
        ("0.4.0.2042.1.1", None),
    ]
    stamp = certificate.extensions.get_extension_for_oid(TIME_STAMP).value.public_bytes()
    assert stamp.endswith(b"https://own.example/tsa")


# AATL --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("aatl-a-person", {"digital_signature", "content_commitment"}),
        ("aatl-b-person", {"digital_signature", "content_commitment"}),
        ("aatl-a-seal", {"digital_signature"}),
        ("aatl-b-seal", {"digital_signature"}),
    ],
)
def test_aatl_usage_and_purposes(pki: Pki, profile: str, wanted: set[str]) -> None:
    certificate = issued(pki, profile)
    assert usage(certificate) == wanted
    assert purposes(certificate) == {"1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5"}


@pytest.mark.parametrize("profile", ["aatl-a-person", "aatl-a-seal"])
def test_aatl_a_has_status(pki: Pki, profile: str) -> None:
    certificate = issued(pki, profile)
    assert {one.oid for one in certificate.extensions} == ALWAYS | ADOBE | {ExtensionOID.CRL_DISTRIBUTION_POINTS}
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [(one.access_method, one.access_location.value) for one in access] == [
        (AuthorityInformationAccessOID.OCSP, "http://pki.example.com/ocsp"),
        (AuthorityInformationAccessOID.CA_ISSUERS, "http://pki.example.com/ca/issuing.crt"),
    ]


@pytest.mark.parametrize("profile", ["aatl-b-person", "aatl-b-seal"])
def test_aatl_b_says_that_there_is_no_status(pki: Pki, profile: str) -> None:
    certificate = issued(pki, profile)
    assert {one.oid for one in certificate.extensions} == ALWAYS | ADOBE | {NO_REVOCATION}
    assert certificate.extensions.get_extension_for_oid(NO_REVOCATION).value.public_bytes() == b"\x05\x00"
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [one.access_method for one in access] == [AuthorityInformationAccessOID.CA_ISSUERS]


@pytest.mark.parametrize(("issuer", "place"), [("issuing", "/tsa"), ("test-issuing", "/tsa/test")])
def test_adobe_extensions(pki: Pki, tmp_path: Path, issuer: str, place: str) -> None:
    certificate = pki.leaf("aatl-a-person", issuer)
    stamp = certificate.extensions.get_extension_for_oid(TIME_STAMP).value.public_bytes()
    path = tmp_path / "stamp.der"
    path.write_bytes(stamp)
    read = run("openssl", "asn1parse", "-inform", "DER", "-in", path, "-dump").stdout.decode()
    assert "INTEGER           :01" in read
    assert "cont [ 6 ]" in read
    assert stamp.endswith(f"http://pki.example.com{place}".encode())
    assert certificate.extensions.get_extension_for_oid(ARCHIVE).value.public_bytes() == bytes.fromhex("3003020101")


# ETSI --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [("etsi-advanced-person", {"content_commitment"}), ("etsi-advanced-seal", {"digital_signature"})],
)
def test_etsi_advanced(pki: Pki, profile: str, wanted: set[str]) -> None:
    certificate = issued(pki, profile)
    assert usage(certificate) == wanted
    held = {one.oid for one in certificate.extensions}
    assert held == ALWAYS | {ExtensionOID.CRL_DISTRIBUTION_POINTS, QC_STATEMENTS}
    number, kind = ("1", "qct_esign") if profile.endswith("person") else ("2", "qct_eseal")
    said = statements(certificate)
    assert said.pop("qc_pki_disclosure_statements") == [{"url": "https://example.com/pds-en.pdf", "language": "en"}]
    assert said.pop("qc_type") == [kind]
    [semantics] = said
    assert (semantics, f"0.4.0.194121.1.{number}" in str(said[semantics])) == ("1.3.6.1.5.5.7.11.2", True)


PERSON, SEAL = SUBJECTS[Holder.PERSON].attributes, SUBJECTS[Holder.SEAL].attributes


def without(attributes: dict[str, str], *gone: str) -> dict[str, str]:
    return {field: value for field, value in attributes.items() if field not in gone}


@pytest.mark.parametrize(
    ("profile", "attributes"),
    [
        *[
            ("etsi-advanced-person", {k: v for k, v in PERSON.items() if k != gone})
            for gone in ("country", "common_name", "serial_number")
        ],
        ("etsi-advanced-person", {k: v for k, v in PERSON.items() if k not in {"given_name", "surname"}}),
        ("etsi-advanced-person", {**PERSON, "pseudonym": "Em"}),
        *[("etsi-advanced-seal", {k: v for k, v in SEAL.items() if k != gone}) for gone in SEAL],
    ],
)
def test_names_that_etsi_does_not_allow(pki: Pki, profile: str, attributes: dict[str, str]) -> None:
    subject = msgspec.structs.replace(SUBJECTS[Holder.PERSON], attributes=attributes)
    with pytest.raises(RuleBroken) as refused:
        prepare(pki, SIGNING[profile], subject=name(subject))
    assert refused.value.rule == "subject.naming"


def prepare(pki: Pki, profile: Profile, issuer: str = "issuing", **changed: object) -> object:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    subject = name(SUBJECTS[profile.holder or Holder.PERSON])
    given = {"subject": subject, "public_key": key, "now": NOW, **changed}
    return pki.issuer(issuer).prepare(profile, **given)  # type: ignore[arg-type]


# Qualified ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["qualified-person", "qualified-seal"])
def test_qualified_is_refused_without_accreditation(pki: Pki, profile: str) -> None:
    for accredited in (Accreditation.NONE, Accreditation.QUALIFIED):
        with pytest.raises(RuleBroken) as refused:
            prepare(pki, SIGNING[profile], accredited=accredited)
        assert refused.value.rule == "qc.accreditation"
    # A CA for tests never is.
    with pytest.raises(RuleBroken, match=r"qc\.accreditation"):
        prepare(pki, SIGNING[profile], "test-issuing", accredited=Accreditation.QUALIFIED_DEVICE)


@pytest.mark.parametrize(
    ("profile", "policy", "kind"),
    [
        ("qualified-person", "0.4.0.194112.1.2", QcCertType.QC_ESIGN),
        ("qualified-seal", "0.4.0.194112.1.3", QcCertType.QC_ESEAL),
    ],
)
def test_qualified(pki: Pki, tmp_path: Path, profile: str, policy: str, kind: QcCertType) -> None:
    certificate = issued(pki, profile)
    policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert [one.policy_identifier.dotted_string for one in policies][1:] == [policy]
    path = tmp_path / "qualified.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    status = QualificationAssessor._process_qc_statements(reread(path))
    assert (status.qualified, status.qc_type) == (True, kind)
    assert status.qc_key_security.is_qscd


# Rules of profiles -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "changed", "rule"),
    [
        ("aatl-b-person", {"short_term": False}, "revocation.none"),
        ("aatl-b-person", {"status": True}, "revocation.none"),
        ("aatl-a-person", {"status": False}, "revocation.either"),
        ("aatl-a-person", {"extended_key_usage": ["1.3.6.1.5.5.7.3.4"]}, "purposes.documents"),
        (
            "aatl-a-person",
            {"extended_key_usage": ["1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.36"]},
            "purposes.time-stamping",
        ),
        ("etsi-advanced-seal", {"statements": SIGNING["etsi-advanced-person"].statements}, "qc.type"),
        # Who has these could answer for the CA, stamp time, or be a server.
        *(
            ("aatl-a-person", {field: ["1.3.6.1.5.5.7.3.36", purpose]}, "purposes.reserved")
            for field in ("extended_key_usage", "extended_key_usage_allowed")
            for purpose in ("2.5.29.37.0", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.9")
        ),
        ("aatl-a-person", {"extended_key_usage_allowed": ["1.3.6.1.5.5.7.3.8"]}, "purposes.reserved"),
        # What only qualified certificates say.
        ("etsi-advanced-seal", {"policies": ["0.4.0.194112.1.3"]}, "qc.policy"),
        ("etsi-advanced-seal", {"policy": "5.2"}, "qc.policy"),
        (
            "etsi-advanced-seal",
            {"statements": Declared(type="0.4.0.1862.1.6.2", legislation=("US",))},
            "qc.legislation",
        ),
        # What tells production from tests, and one profile from another.
        ("aatl-a-person", {"policies": [f"{ARC}.1.1.1"]}, "policies.arc"),
    ],
)
def test_profiles_that_nothing_is_issued_by(pki: Pki, base: str, changed: dict[str, object], rule: str) -> None:
    profile = msgspec.structs.replace(SIGNING[base], name="own", version=7, **changed)
    with pytest.raises(RuleBroken) as refused:
        prepare(pki, profile)
    assert refused.value.rule == rule


def test_etsi_needs_a_country_and_a_disclosure_statement() -> None:
    for country, disclosures, rule in ((None, PUBLICATION.disclosures, "issuer.country"), ("DE", {}, "qc.disclosure")):
        places = msgspec.structs.replace(PUBLICATION, disclosures=disclosures)
        with pytest.raises(RuleBroken) as refused:
            prepare(Pki(country, places), SIGNING["etsi-advanced-seal"])
        assert refused.value.rule == rule


# Read by others ----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", EVERY)
def test_openssl_and_pyhanko_read_every_extension(pki: Pki, tmp_path: Path, profile: str) -> None:
    certificate = issued(pki, profile)
    path = tmp_path / "certificate.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    held = reread(path)
    assert isinstance(held, asn1_x509.Certificate)
    read = {one["extn_id"].dotted: one["extn_value"].parsed.dump() for one in held["tbs_certificate"]["extensions"]}
    assert read == {one.oid.dotted_string: one.value.public_bytes() for one in certificate.extensions}
    text = run("openssl", "x509", "-in", path, "-noout", "-text").stdout.decode()
    shown = text.split("X509v3 extensions:\n")[1].split("    Signature Algorithm")[0]
    heads = [line for line in shown.splitlines() if line.startswith(" " * 12) and line[12] != " "]
    assert len(heads) == len(list(certificate.extensions))
    assert ("1.2.840.113583.1.1.9.1" in shown) == ("aatl" in profile)


def test_each_file_is_called_as_its_profile() -> None:
    for called, profile in SIGNING.items():
        assert (called, profile.version >= 1, profile.holder is not None) == (profile.name, True, True)
        assert called.endswith(str(profile.holder))


# Status ------------------------------------------------------------------------------------------


def revoked_entry(**changed: object) -> Standing:
    known = {
        "issuer": "issuing", "serial": "1" * 30, "profile": "aatl-a-seal", "state": State.REVOKED, "subject": "CN=x",
        "not_before": NOW, "not_after": NOW, "revoked_at": NOW, "reason": "keyCompromise", **changed,
    }  # fmt: skip
    return Standing(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("issuer", "entries", "number", "currency", "rule"),
    [
        ("issuing", [revoked_entry(), revoked_entry()], 1, timedelta(days=1), "crl.entries"),
        ("issuing", [revoked_entry(revoked_at=NOW + timedelta(hours=1))], 1, timedelta(days=1), "crl.entries"),
        ("issuing", [revoked_entry(reason="removeFromCRL")], 1, timedelta(days=1), "crl.entries"),
        ("issuing", [], 0, timedelta(days=1), "crl.number"),
        ("issuing", [], 1, timedelta(0), "crl.currency"),
        ("tsa", [], 1, timedelta(days=1), "crl.issuer"),
    ],
)
def test_lists_that_are_not_signed(
    pki: Pki, issuer: str, entries: list[Standing], number: int, currency: timedelta, rule: str
) -> None:
    with pytest.raises(RuleBroken) as refused:
        crl.build(pki.issuer(issuer), entries, number=number, now=NOW, currency=currency)
    assert refused.value.rule == rule


def test_responses_that_are_not_signed(pki: Pki) -> None:
    key = pki.made["issuing-ocsp"].key
    # A responder must be one, and of the CA that it answers for.
    for other in ("tsa", "root-ocsp", "issuing"):
        with pytest.raises(RuleBroken, match=r"ocsp\.responder"):
            ocsp.Responder(pki["issuing"], pki[other], key, timedelta(days=1))
    responder = ocsp.Responder(pki["issuing"], pki["issuing-ocsp"], key, timedelta(days=1))
    wanted = responder.cert_id(1 << 100)
    with pytest.raises(RuleBroken, match=r"ocsp\.responder"):
        responder.sign([ocsp.Answer(wanted)], pki["issuing-ocsp"].not_valid_after_utc + timedelta(seconds=1))
    with pytest.raises(RuleBroken, match=r"ocsp\.revoked"):
        responder.sign([ocsp.Answer(wanted, revoked_at=NOW + timedelta(hours=1))], NOW)
    with pytest.raises(RuleBroken, match=r"ocsp\.currency"):
        ocsp.Responder(pki["issuing"], pki["issuing-ocsp"], key, timedelta(0)).sign([ocsp.Answer(wanted)], NOW)
