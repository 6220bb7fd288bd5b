"""Each kind of certificate is what `docs/certificate-profiles.md` says, and pkilint finds nothing unexplained."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from intaglio.errors import IssuanceRefused
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody
from intaglio.pki import profiles
from intaglio.pki.hierarchy import SIZES, Made, build, subject
from intaglio.pki.issuer import Issuer, Publication
from intaglio.revocation import crl, ocsp
from served import BIN, run

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)
PUBLICATION = Publication("http://pki.example.com", "1.3.6.1.4.1.32473")
STATUS = {ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ExtensionOID.CRL_DISTRIBUTION_POINTS}


class Pki:
    """A hierarchy made once, and certificates issued below it."""

    def __init__(self) -> None:
        custody = SoftwareCustody(SealingKey(bytes(32), "test"))
        made = build(
            "Example Trust",
            sizes=SIZES["p-256"],
            hosts=["sign.example.com"],
            places=PUBLICATION,
            now=NOW,
            generate=custody.generate,
            progress=lambda _: None,
        )
        self.made: dict[str, Made] = {one.member.name: one for one in made}

    def __getitem__(self, name: str) -> x509.Certificate:
        return self.made[name].certificate

    def issuer(self, name: str) -> Issuer:
        one = self.made[name]
        return Issuer(name, one.certificate, one.key, PUBLICATION, test=one.member.test)

    def leaf(self, profile: str, issuer: str = "issuing") -> x509.Certificate:
        authority = self.issuer(issuer)
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        name = subject("Example Ltd", "Seal")
        return authority.issue(authority.prepare(profile, subject=name, public_key=key, now=NOW))


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


def usage(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert extension.critical
    names = ("digital_signature", "content_commitment", "key_encipherment", "key_cert_sign", "crl_sign")
    return {name for name in names if getattr(extension.value, name)}


def purposes(certificate: x509.Certificate) -> tuple[set[str], bool]:
    extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    return {oid.dotted_string for oid in extension.value}, extension.critical


def oids(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return {extension.oid for extension in certificate.extensions}


def path_length(certificate: x509.Certificate) -> int | None:
    extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert extension.critical
    assert extension.value.ca
    return extension.value.path_length


@pytest.mark.parametrize("name", ["root", "test-root"])
def test_root(pki: Pki, name: str) -> None:
    assert usage(pki[name]) == {"key_cert_sign", "crl_sign"}
    assert path_length(pki[name]) == 1
    assert pki[name].issuer == pki[name].subject
    assert not oids(pki[name]) & STATUS
    assert ("TEST" in pki[name].subject.rfc4514_string()) == (name == "test-root")


@pytest.mark.parametrize("name", ["issuing", "test-issuing"])
def test_issuing(pki: Pki, name: str) -> None:
    assert usage(pki[name]) == {"key_cert_sign", "crl_sign"}
    assert path_length(pki[name]) == 0
    assert oids(pki[name]) >= STATUS
    assert ("TEST" in pki[name].subject.rfc4514_string()) == (name == "test-issuing")


@pytest.mark.parametrize("name", ["tsa", "test-tsa"])
def test_tsa(pki: Pki, name: str) -> None:
    assert purposes(pki[name]) == ({ExtendedKeyUsageOID.TIME_STAMPING.dotted_string}, True)
    assert usage(pki[name]) == {"digital_signature"}
    assert ExtensionOID.BASIC_CONSTRAINTS not in oids(pki[name])
    assert oids(pki[name]) >= STATUS


@pytest.mark.parametrize("name", ["root", "issuing", "test-root", "test-issuing", "client", "server"])
def test_ocsp_responder(pki: Pki, name: str) -> None:
    responder = pki[f"{name}-ocsp"]
    assert responder.issuer == pki[name].subject
    assert purposes(responder)[0] == {ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string}
    assert ExtensionOID.OCSP_NO_CHECK in oids(responder)


def test_client(pki: Pki) -> None:
    certificate = pki.leaf("client", "client")
    assert purposes(certificate)[0] == {ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string}
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=365, seconds=-1)


def test_server(pki: Pki) -> None:
    assert purposes(pki["tls"])[0] == {ExtendedKeyUsageOID.SERVER_AUTH.dotted_string}
    names = pki["tls"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["sign.example.com"]


def _signing(certificate: x509.Certificate) -> None:
    assert purposes(certificate) == ({"1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5"}, False)
    assert oids(certificate) >= STATUS
    short_term = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("0.4.0.194121.2.1"))
    assert (short_term.critical, short_term.value.public_bytes()) == (False, b"\x05\x00")
    assert certificate.not_valid_before_utc == NOW.replace(microsecond=0)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(seconds=599)
    assert certificate.serial_number.bit_length() >= 64


@pytest.mark.parametrize(
    ("issuer", "policy"), [("issuing", "1.3.6.1.4.1.32473.1.1.1"), ("test-issuing", "1.3.6.1.4.1.32473.2.1.1")]
)
def test_signing_person(pki: Pki, issuer: str, policy: str) -> None:
    certificate = pki.leaf("signing-person", issuer)
    _signing(certificate)
    assert usage(certificate) == {"digital_signature", "content_commitment"}
    found = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert [one.policy_identifier.dotted_string for one in found] == [policy]


def test_signing_seal(pki: Pki) -> None:
    certificate = pki.leaf("signing-seal")
    _signing(certificate)
    assert usage(certificate) == {"digital_signature"}


def test_nothing_outlives_its_issuer(pki: Pki) -> None:
    authority = pki.issuer("issuing")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    end = pki["issuing"].not_valid_after_utc
    late = end - timedelta(seconds=30)
    prepared = authority.prepare("signing-seal", subject=subject("A", "B"), public_key=key, now=late)
    assert prepared.not_after == end
    with pytest.raises(IssuanceRefused):
        authority.prepare("signing-seal", subject=subject("A", "B"), public_key=key, now=end + timedelta(days=1))


def test_validity_is_inclusive_at_both_ends() -> None:
    not_before, not_after = profiles.validity(profiles.PROFILES["signing-seal"], NOW)
    assert (not_after - not_before) + timedelta(seconds=1) == timedelta(seconds=600)


def test_pkilint_finds_nothing_unexplained(pki: Pki, tmp_path: Path) -> None:
    kinds = {name: one.certificate for name, one in pki.made.items()}
    kinds |= {
        "person": pki.leaf("signing-person"),
        "seal": pki.leaf("signing-seal"),
        "api": pki.leaf("client", "client"),
    }
    for name, certificate in kinds.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        found = run(BIN / "lint_pkix_cert", "lint", "-s", "WARNING", path)
        assert found.stdout.strip() == b"", (name, found.stdout.decode())
    responder = ocsp.Responder(pki["issuing"], pki["issuing-ocsp"], pki.made["issuing-ocsp"].key, timedelta(days=1))
    wanted = ocsp.cert_id(pki["issuing"], kinds["person"].serial_number)
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
