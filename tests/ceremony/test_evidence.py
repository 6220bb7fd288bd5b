"""What came of a step is judged by what it is: a machine that lies about its work is found out, whoever signed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.ceremony import evidence, possession, steps
from intaglio.ceremony.entry import KeyMade, Result
from intaglio.ceremony.script import Place
from intaglio.errors import RequestRefused
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.attestation import SOFTWARE, Attestation
from intaglio.pki.hierarchy import subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.publication import Publication
from intaglio.revocation import crl
from intaglio.revocation.register import Standing, State

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HEAD = bytes(32)
PLACE = Place(organization="Example Ltd", country="DE", public_url="http://pki.example.com")
PUBLICATION = Publication(PLACE.public_url, PLACE.policy_arc)
CREATE = steps.CreateRoot(id="root", name="root", title="Root CA", algorithm=KeyAlgorithm.P_256, certificate="root.crt")
HSM: dict[str, str | bool] = {
    "custody": "pkcs11", "local": True, "sensitive": True, "always_sensitive": True, "extractable": False,
    "never_extractable": True, "token_serial": "1234",
}  # fmt: skip

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def root(
    key: ec.EllipticCurvePrivateKey = KEY, *, title: str = "Root CA", profile: str = "root", now: datetime = NOW
) -> x509.Certificate:
    name = subject(PLACE.organization, title, PLACE.country)
    issuer = Issuer("root", None, key, PUBLICATION, subject=name)
    return issuer.issue(issuer.prepare(profile, subject=name, public_key=key.public_key(), now=now))


def shown(
    key: ec.EllipticCurvePrivateKey = KEY,
    head: bytes = HEAD,
    attested: Attestation = SOFTWARE,
    name: str = "root",
) -> KeyMade:
    return possession.shown(head, name, key, attested)


ROOT = root()


def done(result: Result, **inputs: bytes) -> evidence.Done:
    return evidence.Done(inputs=inputs, result=result, begun_at=NOW, completed_at=NOW + timedelta(seconds=5), head=HEAD)


RESPONDER = ec.generate_private_key(ec.SECP256R1())


def responder(
    authority: x509.Certificate, *, key: ec.EllipticCurvePrivateKey = KEY, profile: str = "ocsp", title: str = "Root CA"
) -> bytes:
    name = subject(PLACE.organization, f"{title} OCSP Responder", PLACE.country)
    issuer = Issuer("root", authority, key, PUBLICATION)
    prepared = issuer.prepare(profile, subject=name, public_key=RESPONDER.public_key(), now=NOW)
    return issuer.issue(prepared).public_bytes(Encoding.DER)


def made(certificate: x509.Certificate, key: KeyMade | None) -> Result:
    """Return a root as it comes with its responder, kept as the root's key is."""
    attested = SOFTWARE if key is None else key.attestation
    return Result(
        certificate=certificate.public_bytes(Encoding.DER),
        key=key,
        responder=responder(ROOT),
        responder_key=shown(RESPONDER, attested=attested, name="root-ocsp"),
    )


def test_what_was_asked_for_is_taken() -> None:
    known = evidence.Known(PLACE)
    evidence.judge(CREATE, done(made(ROOT, shown())), known)
    assert known.issuer("root").public_key() == KEY.public_key()
    evidence.judge(
        msgspec.structs.replace(CREATE, hsm=True), done(made(ROOT, shown(attested=HSM))), evidence.Known(PLACE)
    )


def _unlike() -> x509.Certificate:
    """Return a root that signs itself and keeps to no profile."""
    name = subject(PLACE.organization, "Root CA", PLACE.country)
    builder = x509.CertificateBuilder(
        issuer_name=name, subject_name=name, public_key=KEY.public_key(), serial_number=1 << 100,
        not_valid_before=NOW, not_valid_after=NOW + timedelta(days=1),
    )  # fmt: skip
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    ("result", "named"),
    [
        (made(root(), None), "the result has"),
        (Result(key=shown()), "the result has"),
        (msgspec.structs.replace(made(root(), shown()), crl=b"x"), "the result has"),
        (made(root(title="Other CA"), shown()), "CN=Example Ltd Other CA"),
        (made(root(profile="issuing"), shown()), "profile root"),
        (made(_unlike(), shown()), "profile root"),
        (made(root(now=NOW - timedelta(days=1)), shown()), "not made in this step"),
        (made(root(now=NOW + timedelta(minutes=1)), shown()), "not made in this step"),
        (made(root(OTHER), shown()), "not the one that was certified"),
        (made(root(), shown(head=bytes(31) + b"\x01")), "proof of possession"),
        (made(root(), msgspec.structs.replace(shown(), attestation=HSM)), "proof of possession"),
        (made(root(), msgspec.structs.replace(shown(), algorithm="rsa-4096")), "rsa-4096"),
        (made(root(), msgspec.structs.replace(shown(), name="other")), "no proof of the key"),
        (Result(certificate=b"not a certificate", key=shown()), "certificate"),
    ],
)
def test_a_root_that_is_not_what_the_script_says_is_refused(result: Result, named: str) -> None:
    known = evidence.Known(PLACE)
    with pytest.raises(RequestRefused, match=named):
        evidence.judge(CREATE, done(result), known)
    assert known.certificates == {}


@pytest.mark.parametrize("missing", sorted(HSM))
def test_a_key_that_a_script_wants_in_an_hsm_must_be_attested_so(missing: str) -> None:
    step = msgspec.structs.replace(CREATE, hsm=True)
    attested = {**HSM, missing: "" if isinstance(HSM[missing], str) else not HSM[missing]}
    with pytest.raises(RequestRefused, match=missing):
        evidence.judge(step, done(made(ROOT, shown(attested=attested))), evidence.Known(PLACE))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"responder": None}, "the result has"),
        ({"responder_key": None}, "the result has"),
        ({"responder_key": shown(RESPONDER)}, "no proof of the key of root-ocsp"),
        ({"responder_key": shown(OTHER, name="root-ocsp")}, "not the one that was certified"),
        ({"responder": lambda: responder(ROOT, key=OTHER)}, "not signed by the issuer"),
        ({"responder": lambda: responder(ROOT, profile="tsa")}, "profile ocsp"),
        ({"responder": lambda: responder(ROOT, title="Other CA")}, "CN=Example Ltd Other CA OCSP Responder"),
    ],
)
def test_a_responder_that_does_not_belong_to_the_root_is_refused(changes: dict[str, Any], named: str) -> None:
    found = {name: value() if callable(value) else value for name, value in changes.items()}
    result = msgspec.structs.replace(made(ROOT, shown()), **found)
    with pytest.raises(RequestRefused, match=named):
        evidence.judge(CREATE, done(result), evidence.Known(PLACE))


def knowing() -> evidence.Known:
    known = evidence.Known(PLACE)
    known.certificates["root"] = ROOT
    return known


ISSUER = Issuer("root", ROOT, KEY, PUBLICATION)
REQUEST = x509.CertificateSigningRequestBuilder(subject("x", "y")).sign(OTHER, hashes.SHA256())
SIGN = steps.SignRequest(id="sign", issuer="root", title="CA 2", request=steps.Input(path="x.csr"), certificate="x.crt")


def certified(
    key: ec.EllipticCurvePrivateKey = OTHER, *, title: str = "CA 2", profile: str = "issuing", issuer: Issuer = ISSUER
) -> Result:
    name = subject(PLACE.organization, title, PLACE.country)
    prepared = issuer.prepare(profile, subject=name, public_key=key.public_key(), now=NOW)
    return Result(certificate=issuer.issue(prepared).public_bytes(Encoding.DER))


ELSEWHERE = Issuer("root", None, OTHER, PUBLICATION, subject=ROOT.subject)


@pytest.mark.parametrize(
    ("result", "named"),
    [
        (certified(), ""),
        (certified(KEY), "another key than the request"),
        (certified(title="CA 3"), "CA 3"),
        (certified(profile="tsa"), "profile issuing"),
        (certified(profile="root"), "profile issuing"),
        (certified(issuer=ELSEWHERE), "not signed by the issuer"),
    ],
)
def test_a_certificate_for_a_request_is_what_the_script_says(result: Result, named: str) -> None:
    work = done(result, request=REQUEST.public_bytes(Encoding.PEM))
    if not named:
        evidence.judge(SIGN, work, knowing())
        return
    with pytest.raises(RequestRefused, match=named):
        evidence.judge(SIGN, work, knowing())


ISSUED = x509.load_der_x509_certificate(certified().certificate or b"")
REVOKE = steps.Revoke(
    id="revoke", issuer="root", certificate=steps.Input(path="x.crt"), reason="keyCompromise", crl="root.crl"
)


def crl_of(reason: str = "keyCompromise", *, issuer: Issuer = ISSUER, at: datetime = NOW, serial: int = 0) -> Result:
    standing = Standing("root", f"{serial or ISSUED.serial_number:x}", "issuing", State.REVOKED, "", NOW, NOW, None, at,
                        reason)  # fmt: skip
    return Result(crl=crl.build(issuer, [standing], number=1, now=at, currency=timedelta(days=1)).der)


@pytest.mark.parametrize(
    ("result", "named"),
    [
        (crl_of(), ""),
        (crl_of("superseded"), "reason superseded"),
        (crl_of("unspecified"), "reason unspecified"),
        (crl_of(serial=77), "does not hold the revoked certificate"),
        (crl_of(at=NOW - timedelta(hours=1)), "not made in this step"),
        (crl_of(issuer=Issuer("root", ROOT, OTHER, PUBLICATION)), "not signed by the authority"),
    ],
)
def test_a_revocation_is_shown_by_its_crl(result: Result, named: str) -> None:
    work = done(result, certificate=ISSUED.public_bytes(Encoding.PEM))
    if not named:
        evidence.judge(REVOKE, work, knowing())
        return
    with pytest.raises(RequestRefused, match=named):
        evidence.judge(REVOKE, work, knowing())
