"""Each kind of certificate is what `docs/certificate-profiles.md` says, and pkilint finds nothing unexplained."""

from collections.abc import Set as AbstractSet
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from founded import ARC, NOW, Pki
from intaglio.errors import IssuanceRefused
from intaglio.pki import profiles
from intaglio.pki.extensions import QC_STATEMENTS, Purposes, Statements
from intaglio.pki.hierarchy import subject
from intaglio.revocation import crl, ocsp
from served import BIN, run

STATUS = {ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ExtensionOID.CRL_DISTRIBUTION_POINTS}


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


BASIC = {ExtensionOID.KEY_USAGE, ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}
CA = BASIC | {ExtensionOID.BASIC_CONSTRAINTS}
END = BASIC | {ExtensionOID.EXTENDED_KEY_USAGE}
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign",
)  # fmt: skip


def check(
    pki: Pki,
    certificate: x509.Certificate,
    *,
    issuer: str,
    lifetime: timedelta,
    usage: set[str],
    extensions: set[x509.ObjectIdentifier],
    purposes: AbstractSet[str] = frozenset(),
    purposes_critical: bool = False,
    policy: str | None = None,
) -> None:
    """Hold a certificate against everything its profile says; `extensions` are all that it may have."""
    certificate.verify_directly_issued_by(pki[issuer])
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    assert certificate.not_valid_before_utc == NOW.replace(microsecond=0)
    # Both ends are inclusive.
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == lifetime - timedelta(seconds=1)
    assert 64 <= certificate.serial_number.bit_length() <= 159
    assert {extension.oid for extension in certificate.extensions} == extensions
    found = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    assert {name for name in USAGES if getattr(found.value, name)} == usage
    if purposes:
        known = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert ({oid.dotted_string for oid in known.value}, known.critical) == (purposes, purposes_critical)
    if policy is not None:
        policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
        assert [one.policy_identifier.dotted_string for one in policies] == [policy]
    critical = {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS}
    critical |= {ExtensionOID.EXTENDED_KEY_USAGE} if purposes_critical else set()
    assert {extension.oid for extension in certificate.extensions if extension.critical} == critical & extensions
    assert ("TEST" in certificate.issuer.rfc4514_string()) == issuer.startswith("test-")


def check_ca(
    pki: Pki, name: str, issuer: str, days: int, path_length: int, *, status: bool, policy: str | None
) -> None:
    extensions = CA | (STATUS if status else set()) | ({ExtensionOID.CERTIFICATE_POLICIES} if policy else set())
    check(
        pki, pki[name], issuer=issuer, lifetime=timedelta(days=days), usage={"key_cert_sign", "crl_sign"},
        extensions=extensions, policy=policy,
    )  # fmt: skip
    constraints = pki[name].extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, path_length)
    assert ("TEST" in pki[name].subject.rfc4514_string()) == name.startswith("test-")


@pytest.mark.parametrize("name", ["root", "test-root"])
def test_root(pki: Pki, name: str) -> None:
    check_ca(pki, name, name, 7305, 1, status=False, policy=None)


@pytest.mark.parametrize(("name", "issuer"), [("issuing", "root"), ("test-issuing", "test-root")])
def test_issuing(pki: Pki, name: str, issuer: str) -> None:
    check_ca(pki, name, issuer, 3652, 0, status=True, policy="2.5.29.32.0")


@pytest.mark.parametrize("name", ["client", "server"])
def test_access_cas(pki: Pki, name: str) -> None:
    check_ca(pki, name, name, 3652, 0, status=False, policy=None)


@pytest.mark.parametrize(
    ("name", "issuer", "policy"), [("tsa", "root", f"{ARC}.1.2"), ("test-tsa", "test-root", f"{ARC}.2.2")]
)
def test_tsa(pki: Pki, name: str, issuer: str, policy: str) -> None:
    check(
        pki, pki[name], issuer=issuer, lifetime=timedelta(days=2191), usage={"digital_signature"},
        extensions=END | STATUS | {ExtensionOID.CERTIFICATE_POLICIES},
        purposes={ExtendedKeyUsageOID.TIME_STAMPING.dotted_string}, purposes_critical=True, policy=policy,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["root", "issuing", "test-root", "test-issuing", "client", "server"])
def test_ocsp_responder(pki: Pki, name: str) -> None:
    check(
        pki, pki[f"{name}-ocsp"], issuer=name, lifetime=timedelta(days=2191), usage={"digital_signature"},
        extensions=END | {ExtensionOID.OCSP_NO_CHECK}, purposes={ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string},
    )  # fmt: skip


def test_client(pki: Pki) -> None:
    check(
        pki, pki.leaf("client", "client"), issuer="client", lifetime=timedelta(days=365),
        usage={"digital_signature"}, extensions=END | STATUS,
        purposes={ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string},
    )  # fmt: skip


def test_server(pki: Pki) -> None:
    check(
        pki, pki["tls"], issuer="server", lifetime=timedelta(days=365), usage={"digital_signature"},
        extensions=END | STATUS | {ExtensionOID.SUBJECT_ALTERNATIVE_NAME},
        purposes={ExtendedKeyUsageOID.SERVER_AUTH.dotted_string},
    )  # fmt: skip
    names = pki["tls"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["sign.example.com"]


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.35"), b"\x30\x00"), "twice"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x30\x00"), "looked into"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.37"), b"\x30\x00"), "looked into"),
        (x509.UnrecognizedExtension(QC_STATEMENTS, b"\x30\x00"), "none in it"),
        (Statements(compliance=True).extension(), "not accredited"),
        (Statements(retention_years=10, device=True).extension(), "not accredited"),
        (Statements(type="0.4.0.1862.1.6.1").extension(), "another than the profile's"),
        (Purposes(("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.36"), critical=False).extension(), "does not allow"),
        (Purposes(("1.3.6.1.5.5.7.3.9", "1.3.6.1.5.5.7.3.36"), critical=False).extension(), "no signer has"),
        (Purposes(("1.3.6.1.5.5.7.3.4",), critical=False).extension(), "none for signing documents"),
        (profiles.key_usage({"digital_signature", "key_cert_sign"}), "keyUsage"),
        (profiles.key_usage(set()), "keyUsage"),
    ],
)
def test_extensions_that_are_refused(pki: Pki, extra: x509.ExtensionType, rule: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(IssuanceRefused, match=rule):
        pki.issuer("issuing").prepare(
            "aatl-a-seal", subject=subject("A", "B"), public_key=key, now=NOW, extensions=[(extra, False)]
        )


@pytest.mark.parametrize("profile", sorted(set(profiles.PROFILES) - set(profiles.SIGNING)))
@pytest.mark.parametrize(
    "extra",
    [
        profiles.key_usage({"digital_signature"}),
        Purposes(("1.3.6.1.5.5.7.3.36",), critical=False).extension(),
        Statements(retention_years=10).extension(),
    ],
)
def test_only_signing_certificates_can_be_for_something_else(pki: Pki, profile: str, extra: x509.ExtensionType) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(IssuanceRefused):
        pki.issuer("issuing").prepare(
            profile, subject=subject("A", "B"), public_key=key, now=NOW, extensions=[(extra, False)]
        )


def test_nothing_outlives_its_issuer(pki: Pki) -> None:
    authority = pki.issuer("issuing")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    end = pki["issuing"].not_valid_after_utc
    late = end - timedelta(seconds=30)
    prepared = authority.prepare("aatl-a-seal", subject=subject("A", "B"), public_key=key, now=late)
    assert prepared.not_after == end
    with pytest.raises(IssuanceRefused):
        authority.prepare("aatl-a-seal", subject=subject("A", "B"), public_key=key, now=end + timedelta(days=1))


def test_validity_is_inclusive_at_both_ends() -> None:
    not_before, not_after = profiles.validity(profiles.PROFILES["aatl-a-seal"], NOW)
    assert (not_after - not_before) + timedelta(seconds=1) == timedelta(seconds=600)


def test_pkilint_finds_nothing_unexplained(pki: Pki, tmp_path: Path) -> None:
    kinds = {name: one.certificate for name, one in pki.made.items()}
    kinds["api"] = pki.leaf("client", "client")
    for name, certificate in kinds.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        found = run(BIN / "lint_pkix_cert", "lint", "-s", "WARNING", path)
        assert found.stdout.strip() == b"", (name, found.stdout.decode())
    responder = ocsp.Responder(pki["issuing"], pki["issuing-ocsp"], pki.made["issuing-ocsp"].key, timedelta(days=1))
    wanted = responder.cert_id(kinds["issuing"].serial_number)
    statuses = {
        "good": ocsp.Answer(wanted),
        "unknown": ocsp.Answer(wanted, known=False),
        "revoked": ocsp.Answer(wanted, revoked_at=NOW, reason="keyCompromise"),
    }
    for name, answer in statuses.items():
        path = tmp_path / f"{name}.der"
        path.write_bytes(responder.sign([answer], NOW))
        found = run(BIN / "lint_ocsp_response", "lint", "-s", "WARNING", path)
        assert found.stdout.strip() == b"", (name, found.stdout.decode())
    listed = crl.build(pki.issuer("issuing"), [], number=1, now=NOW, currency=timedelta(days=1))
    path = tmp_path / "crl.der"
    path.write_bytes(listed.der)
    found = run(BIN / "lint_crl", "lint", "-s", "WARNING", "-t", "CRL", "-p", "PKIX", path)
    assert found.stdout.strip() == b"", found.stdout.decode()
