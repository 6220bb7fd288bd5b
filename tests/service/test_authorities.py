"""What is asked of the hierarchy and must not be done: named, and nothing changed."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from intaglio.accounts import onboarding
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused, IntaglioError, Malformed, NotFound, RequestRefused, WeakKey
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.ledger.verify import verify
from intaglio.ledger.writer import recorded
from intaglio.pki.hierarchy import Hierarchy, State, subject
from intaglio.revocation import register
from intaglio.service import authorities
from intaglio.service.home import Home, open_home
from intaglio.service.roster import FILE_NAME, changing, read
from offline import carried, empty_home, install_offline_root, now, publish, rolled_over
from onboarded import small_home

TITLE = "TEST Document Signing CA 2"


class Pair:
    """A home of the service and one of an offline root that is installed in it as `test-root-2`."""

    def __init__(self, folder: Path) -> None:
        self.home = open_home(folder / "home")
        self.vault = open_home(folder / "vault")

    def request(self, name: str = "test-issuing-2", **changed: object) -> x509.CertificateSigningRequest:
        asked = {"profile": "issuing", "title": TITLE, "algorithm": "p-256", "test": True, "now": now(), **changed}
        return authorities.request_authority(self.home, name, **asked)  # type: ignore[arg-type]

    def sign(self, csr: x509.CertificateSigningRequest, **changed: object) -> x509.Certificate:
        asked = {"issuer": "test-root-2", "profile": "issuing", "title": TITLE, "now": now(), **changed}
        return authorities.sign_request(self.vault, csr=csr, **asked)  # type: ignore[arg-type]

    def install(self, certificate: x509.Certificate, name: str = "test-issuing-2", issuer: str = "test-root-2") -> None:
        authorities.install_authority(self.home, name, issuer, certificate, now())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authorities")
    home, vault = small_home(folder / "home"), empty_home(folder / "vault", "http://localhost:8080")
    install_offline_root(home, vault, "test-root-2", "TEST Root CA 2", test=True)
    for opened in (home, vault):
        opened.close()
    return folder


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> Iterator[Pair]:
    for name in ("home", "vault"):
        shutil.copytree(made / name, tmp_path / name)
    found = Pair(tmp_path)
    yield found
    for opened in (found.home, found.vault):
        opened.close()


def refused(kind: type[IntaglioError], named: str, call: Callable[[], object], *homes: Home) -> None:
    """Show that `call` is refused with a field that is `named`, and that it leaves the hierarchies as they were."""
    before = [read(home.path) for home in homes]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, RequestRefused)
    assert named in " ".join([*caught.value.fields, *caught.value.fields.values()]), caught.value.fields
    assert [read(home.path) for home in homes] == before


def request(key: PrivateKey, title: str = TITLE, organization: str = "Intaglio") -> x509.CertificateSigningRequest:
    return x509.CertificateSigningRequestBuilder(subject(organization, title)).sign(key, hashes.SHA256())


def weak() -> PrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": "Test"}, "name"),
        ({"name": "../issuing"}, "name"),
        ({"name": "a" * 28}, "name"),
        ({"name": "issuing-ocsp-ocsp"}, "-ocsp"),
        ({"name": "new-ocsp"}, "-ocsp"),
        ({"name": "access-tokens"}, "kept for something else"),
        ({"name": "nobody-ocsp", "profile": "ocsp"}, "must be that of a CA"),
        ({"title": "Document Signing CA 2"}, "TEST"),
        ({"title": "TEST \u202eCA"}, "title"),
        ({"title": "TEST " + "x" * 40}, "64"),
        ({"title": "TEST Production CA", "test": False}, "TEST"),
        ({"profile": "root"}, "profile"),
        ({"profile": "client"}, "profile"),
        ({"algorithm": "rsa-1024"}, "algorithm"),
    ],
)
def test_what_cannot_be_asked_for_is_named(pair: Pair, changed: dict[str, object], named: str) -> None:
    refused(ContentRefused, named, lambda: pair.request(**changed), pair.home)  # type: ignore[arg-type]
    assert not list((pair.home.path / "keys").glob("*2.sealed"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": "test-issuing"}, "test-issuing is there: issuing"),
        ({"name": "test-root-2"}, "test-root-2 is there: root"),
        ({"title": "TEST Document Signing CA"}, "test-issuing"),
        ({"title": "TEST Root CA 2"}, "test-root-2"),
    ],
)
def test_a_name_or_title_that_is_taken(pair: Pair, changed: dict[str, object], named: str) -> None:
    refused(Conflict, named, lambda: pair.request(**changed), pair.home)  # type: ignore[arg-type]


def test_a_request_is_for_one_key_however_often_it_is_made(pair: Pair) -> None:
    first, again = pair.request(), pair.request()
    assert first.public_key() == again.public_key()
    refused(Conflict, "name", lambda: pair.request(algorithm="p-384"), pair.home)
    refused(Conflict, "name", lambda: pair.request(profile="tsa"), pair.home)


def test_a_key_of_nobodys_is_neither_used_nor_written_over(pair: Pair) -> None:
    key = pair.home.custody.generate(KeyAlgorithm.P_256, "test-issuing-2")
    pair.home.keyring.store_key("test-issuing-2", key)
    refused(Conflict, "its key is there already", pair.request, pair.home)
    assert pair.home.keyring.key("test-issuing-2").public_key() == key.public_key()


def test_requests_that_are_not_signed(pair: Pair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    vault = pair.vault

    def refuse(kind: type[IntaglioError], named: str, csr: x509.CertificateSigningRequest, **changed: object) -> None:
        refused(kind, named, lambda: pair.sign(csr, **changed), vault)

    refuse(ContentRefused, "asks for", request(key, "TEST Other CA"))
    refuse(ContentRefused, "asks for", request(key, organization="Somebody"))
    refuse(ContentRefused, "TEST", request(key, "Document Signing CA 2"), title="Document Signing CA 2")
    refuse(WeakKey, "P-256 or P-384", request(ec.generate_private_key(ec.SECP521R1())))
    refuse(WeakKey, "2048", request(weak()))
    der = bytearray(request(key).public_bytes(Encoding.DER))
    der[-1] ^= 1
    refuse(ContentRefused, "bad signature", x509.load_der_x509_csr(bytes(der)))
    refuse(ContentRefused, "profile", request(key), profile="client")
    refuse(ContentRefused, "profile", request(key), profile="aatl-a-person")
    refuse(NotFound, "nobody", request(key), issuer="nobody")
    # the root's own key, asked to be another thing
    own = vault.keyring.key("test-root-2")
    refuse(Conflict, "is the key of", request(own))
    # a key that has one use gets no second; and a subject no second key
    pair.sign(request(key))
    refuse(Conflict, "is the key of", request(key, "TEST TSA 2"), profile="tsa", title="TEST TSA 2")
    refuse(Conflict, "taken by another key", request(ec.generate_private_key(ec.SECP256R1())))


def test_an_issuer_whose_key_is_elsewhere_or_that_is_revoked_signs_nothing(pair: Pair) -> None:
    csr = request(ec.generate_private_key(ec.SECP256R1()))
    refused(
        Conflict, "elsewhere",
        lambda: authorities.sign_request(pair.home, "test-root-2", csr, profile="issuing", title=TITLE, now=now()),
        pair.home,
    )  # fmt: skip
    name = rolled_over(pair.home)
    serial = f"{pair.home.certificate(name).serial_number:x}"
    with transaction(pair.home.engine) as connection:
        onboarding.revoke_certificate(connection, pair.home.chain, "test-root", serial, "keyCompromise", now())
    title = "TEST Document Signing CA 2 OCSP Responder"
    csr = request(ec.generate_private_key(ec.SECP256R1()), title)
    refused(
        Conflict, "is revoked",
        lambda: authorities.sign_request(pair.home, name, csr, profile="ocsp", title=title, now=now()), pair.home,
    )  # fmt: skip
    refused(Conflict, "is revoked", lambda: authorities.activate(pair.home, Hierarchy.TEST, name, now()), pair.home)


def test_certificates_that_are_not_installed(pair: Pair, tmp_path: Path) -> None:
    home, vault = pair.home, pair.vault
    refused(NotFound, "test-issuing-2", lambda: pair.install(home.certificate("issuing")), home)
    csr = pair.request()
    good = pair.sign(csr)

    def refuse(kind: type[IntaglioError], named: str, certificate: x509.Certificate, **changed: str) -> None:
        refused(kind, named, lambda: pair.install(certificate, **changed), home)
        assert not (home.path / "pki/test-issuing-2.crt").exists()

    # another key, another issuer, another hierarchy, no such issuer
    stranger = pair.sign(request(ec.generate_private_key(ec.SECP256R1()), "TEST Other CA"), title="TEST Other CA")
    refuse(ContentRefused, "another key", stranger)
    refuse(ContentRefused, "not signed by", good, issuer="test-root")
    refuse(ContentRefused, "other hierarchy", good, issuer="root")
    refuse(ContentRefused, "not signed by the kind ocsp", good, issuer="test-root-2-ocsp")
    refuse(NotFound, "nobody", good, issuer="nobody")
    # another kind, and one that the profile does not allow
    refuse(ContentRefused, "basicConstraints", pair.sign(csr, profile="tsa"))
    # a home that publishes elsewhere, or knows the root by another name
    elsewhere = empty_home(tmp_path / "elsewhere", "http://elsewhere.example")
    authorities.create_root(elsewhere, "test-root-2", title="TEST Root CA 2", algorithm="p-256", test=True, now=now())
    refuse(ContentRefused, "not signed by", authorities.sign_request(
        elsewhere, "test-root-2", csr, profile="issuing", title=TITLE, now=now()))  # fmt: skip
    root = vault.issuer("test-root-2")
    for changed in ("http://elsewhere.example", vault.settings.public.url):
        places = msgspec.structs.replace(vault.places, url=changed)
        name = "test-root-2" if changed != vault.settings.public.url else "root"
        other = type(root)(name, root.certificate, root.key, places, test=True)
        prepared = other.prepare("issuing", subject=csr.subject, public_key=good_key(csr), now=now())
        refuse(ContentRefused, "cRLDistributionPoints", other.issue(prepared))
    # another subject, and one that is not valid yet
    prepared = root.prepare(
        "issuing", subject=subject("Intaglio", "TEST Other CA"), public_key=good_key(csr), now=now()
    )
    refuse(ContentRefused, "requested was", root.issue(prepared))
    prepared = root.prepare("issuing", subject=csr.subject, public_key=good_key(csr), now=now() + timedelta(days=1))
    refuse(ContentRefused, "is not now", root.issue(prepared))
    # one with something more in it
    more = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)
    prepared = root.prepare("issuing", subject=csr.subject, public_key=good_key(csr), now=now(), extensions=[more])
    refuse(ContentRefused, "1.2.3.4", root.issue(prepared))

    pair.install(good)
    pair.install(good)
    refuse_again = pair.sign(csr)
    refused(Conflict, "is there: issuing", lambda: pair.install(refuse_again), home)


def good_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_a_certificate_of_a_ca_that_is_here_must_be_on_record_here(pair: Pair) -> None:
    """Signed by a copy of this home, say, or before a backup was restored."""
    csr = pair.request()
    root = pair.home.issuer("test-root")
    unknown = root.issue(root.prepare("issuing", subject=csr.subject, public_key=good_key(csr), now=now()))
    refused(ContentRefused, "is unknown", lambda: pair.install(unknown, issuer="test-root"), pair.home)


def self_signed(*, title: str = "TEST Root CA 3", length: int | None = None, ca: bool = True, days: int = 30,
                usage: bool = True, key: PrivateKey | None = None) -> x509.Certificate:  # fmt: skip
    """Make a root as other software does."""
    signer = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    public = signer.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=1)).not_valid_after(now() + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, length), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, usage, True, False, False), critical=True)
        .add_extension(identifier, critical=False)
    )  # fmt: skip
    return builder.sign(signer, hashes.SHA256())


def test_roots_that_are_not_installed(pair: Pair) -> None:
    home = pair.home

    def refuse(kind: type[IntaglioError], named: str, root: x509.Certificate, name: str = "test-root-3") -> None:
        refused(kind, named, lambda: authorities.install_root(home, name, root, now(), test=True), home)
        assert not (home.path / "pki/test-root-3.crt").exists()

    refuse(ContentRefused, "not signed by", home.certificate("test-issuing"))
    refuse(ContentRefused, "may not sign CAs", self_signed(length=0))
    refuse(ContentRefused, "may not sign CAs", self_signed(ca=False))
    refuse(ContentRefused, "keyCertSign", self_signed(usage=False))
    refuse(ContentRefused, "is not now", self_signed(days=0))
    refuse(ContentRefused, "TEST", self_signed(title="Root CA 3"))
    refuse(WeakKey, "1024", self_signed(key=weak()))
    refuse(Conflict, "test-root-2", self_signed(), name="test-root-2")
    refuse(ContentRefused, "lower-case", self_signed(), name="Root")
    refuse(Conflict, "the same as of test-root", home.certificate("test-root"))
    root = self_signed()
    authorities.install_root(home, "test-root-3", root, now(), test=True)
    authorities.install_root(home, "test-root-3", root, now(), test=True)
    refused(
        Conflict, "test-root-3 is there: root",
        lambda: authorities.install_root(home, "test-root-3", self_signed(), now(), test=True), home,
    )  # fmt: skip


def crl(pair: Pair, **changed: Any) -> bytes:
    """Sign a list of the offline root with something changed."""
    key = pair.vault.keyring.key("test-root-2")
    made: dict[str, Any] = {
        "issuer": pair.vault.certificate("test-root-2").subject, "key": key, "number": 5, "entries": [],
        "this_update": now(), "next_update": now() + timedelta(days=30), "extension": None, "revoked_at": now(),
        **changed,
    }  # fmt: skip
    builder = (
        x509.CertificateRevocationListBuilder().issuer_name(made["issuer"]).last_update(made["this_update"])
        .next_update(made["next_update"])
    )  # fmt: skip
    if made["number"] is not None:
        builder = builder.add_extension(x509.CRLNumber(made["number"]), critical=False)
    if made["extension"] is not None:
        builder = builder.add_extension(made["extension"], critical=True)
    for serial, reason in made["entries"]:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made["revoked_at"])
        builder = builder.add_revoked_certificate(entry.add_extension(x509.CRLReason(reason), critical=False).build())
    return builder.sign(made["key"], hashes.SHA384()).public_bytes(Encoding.DER)


def test_lists_that_are_not_published(pair: Pair) -> None:
    home = pair.home
    with reading(home.engine) as connection:
        before = register.latest_list(connection, "test-root-2")
    assert before is not None

    def refuse(kind: type[IntaglioError], named: str, der: bytes, name: str = "test-root-2") -> None:
        refused(kind, named, lambda: authorities.import_list(home, name, der, now()), home)
        with reading(home.engine) as connection:
            assert register.latest_list(connection, "test-root-2") == before
            assert register.revoked(connection, "test-root-2") == []

    day = timedelta(days=1)
    refuse(Malformed, "crl", b"not a list")
    refuse(Malformed, "crl", crl(pair)[:-1])
    refuse(ContentRefused, "octets", bytes(2 << 20))
    refuse(ContentRefused, "signature", crl(pair, key=ec.generate_private_key(ec.SECP384R1())))
    refuse(ContentRefused, "signature", crl(pair, key=rsa.generate_private_key(65537, 2048)))
    refuse(ContentRefused, "issuer", crl(pair, issuer=home.certificate("test-root").subject))
    refuse(ContentRefused, "is over", crl(pair, this_update=now() - 2 * day, next_update=now() - day))
    refuse(ContentRefused, "is to come", crl(pair, this_update=now() + day))
    refuse(ContentRefused, "number", crl(pair, number=None))
    refuse(ContentRefused, "number", crl(pair, number=1 << 80))
    refuse(Conflict, "published is", crl(pair, number=before.number))
    refuse(Conflict, "published is", crl(pair, number=before.number - 1))
    refuse(Conflict, "published is", crl(pair, this_update=now() - 2 * day))
    # partial and delta lists
    point = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    refuse(ContentRefused, "2.5.29.28", crl(pair, extension=point))
    refuse(ContentRefused, "2.5.29.27", crl(pair, extension=x509.DeltaCRLIndicator(1)))
    refuse(ContentRefused, "for good", crl(pair, entries=[(7, x509.ReasonFlags.certificate_hold)]))
    late = {"revoked_at": now() + day, "entries": [(7, x509.ReasonFlags.superseded)]}
    refuse(ContentRefused, "after the list's own time", crl(pair, **late))
    # a CA that makes its own
    refuse(Conflict, "elsewhere", crl(pair), name="test-root")
    refuse(NotFound, "nobody", crl(pair), name="nobody")


def test_a_list_that_forgets_a_revocation_is_not_published(pair: Pair) -> None:
    home = pair.home
    der = crl(pair, entries=[(1 << 100, x509.ReasonFlags.superseded)])
    authorities.import_list(home, "test-root-2", der, now())
    assert authorities.import_list(home, "test-root-2", der, now()).number == 5
    refused(Conflict, "without", lambda: authorities.import_list(home, "test-root-2", crl(pair, number=6), now()), home)
    with reading(home.engine) as connection:
        standing = register.find(connection, "test-root-2", f"{1 << 100:x}")
    assert standing is not None
    assert (standing.state, standing.reason) == (register.State.REVOKED, "superseded")
    later = crl(pair, number=7, entries=[(1 << 100, x509.ReasonFlags.superseded), (2, x509.ReasonFlags.unspecified)])
    assert authorities.import_list(home, "test-root-2", later, now()).number == 7


def test_what_cannot_serve_does_not(pair: Pair) -> None:
    home = pair.home
    activate = authorities.activate
    csr = pair.request()
    refused(Conflict, "install its certificate", lambda: activate(home, Hierarchy.TEST, "test-issuing-2", now()), home)
    pair.install(pair.sign(csr))
    for name, hierarchy, kind, named in (
        ("nobody", Hierarchy.TEST, NotFound, "nobody"),
        ("test-root", Hierarchy.TEST, ContentRefused, "kind is root"),
        ("tls", Hierarchy.PRODUCTION, ContentRefused, "kind is server"),
        ("test-issuing-2", Hierarchy.PRODUCTION, ContentRefused, "not of production"),
        ("issuing", Hierarchy.TEST, ContentRefused, "not of test"),
    ):
        refused(kind, named, partial(activate, home, hierarchy, name, now()), home)
    ended = home.certificate("test-issuing-2").not_valid_after_utc + timedelta(days=1)
    refused(Conflict, "ends at", lambda: activate(home, Hierarchy.TEST, "test-issuing-2", ended), home)
    # the root's list has ended: nobody could tell whether the CA is revoked
    late = now() + timedelta(days=101)
    refused(Conflict, "no current list", lambda: activate(home, Hierarchy.TEST, "test-issuing-2", late), home)
    family = activate(home, Hierarchy.TEST, "test-issuing-2", now())
    assert activate(home, Hierarchy.TEST, "test-issuing-2", now()) == family
    # and back, when the new one turns out to be no good
    assert activate(home, Hierarchy.TEST, "test-issuing", now()).before == "test-issuing-2"
    assert home.roster().member("test-issuing-2").state == State.RETIRED


def test_a_root_without_responder_or_list_is_of_no_use_yet(pair: Pair, tmp_path: Path) -> None:
    home, vault = pair.home, empty_home(tmp_path / "new", pair.home.settings.public.url)
    root = authorities.create_root(
        vault, "test-root-3", title="TEST Root CA 3", algorithm="p-256", test=True, now=now()
    )
    authorities.install_root(home, "test-root-3", root, now(), test=True)
    carried(home, vault, "test-root-3", "test-tsa-3", "tsa", "TEST Time-Stamping Authority 3", "p-256")

    def activate() -> object:
        return authorities.activate(home, Hierarchy.TEST, "test-tsa-3", now())

    refused(Conflict, "test-root-3-ocsp is missing", activate, home)
    carried(home, vault, "test-root-3", "test-root-3-ocsp", "ocsp", "TEST Root CA 3 OCSP Responder", "p-256")
    refused(Conflict, "no current list", activate, home)
    authorities.import_list(home, "test-root-3", publish(vault, "test-root-3"), now())
    activate()
    assert home.roster().family(Hierarchy.TEST).tsa == "test-tsa-3"


def test_a_destroyed_key_is_gone_and_its_last_list_stays(pair: Pair) -> None:
    home = pair.home
    # One of this test's own: a copy of a home shares its keys where they are on a token.
    name = rolled_over(home)
    authorities.activate(home, Hierarchy.TEST, name, now())
    refused(Conflict, "in use", lambda: authorities.destroy_key(home, name, now()), home)
    refused(Conflict, "destroy it there", lambda: authorities.destroy_key(home, "test-root-2", now()), home)
    refused(Conflict, "kind is ocsp", lambda: authorities.destroy_key(home, "test-root-ocsp", now()), home)
    authorities.activate(home, Hierarchy.TEST, "test-issuing", now())
    authorities.destroy_key(home, name, now())
    authorities.destroy_key(home, name, now())
    assert not (home.path / f"keys/{name}.sealed").exists()
    with reading(home.engine) as connection:
        latest = register.latest_list(connection, name)
        assert verify(recorded(connection)).entries
    assert latest is not None
    assert latest.next_update == home.certificate(name).not_valid_after_utc
    # what cannot be done any more without it
    refused(Conflict, "destroyed", lambda: authorities.activate(home, Hierarchy.TEST, name, now()), home)


def test_two_commands_do_not_change_it_at_once(pair: Pair) -> None:
    with changing(pair.home.path):
        refused(Conflict, "in use", pair.request, pair.home)
    pair.request()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"title"', '"titel"', "titel"),
        ('"state": "active"', '"state": "busy"', "state"),
        ('"name": "issuing",', '"name": "issuing2",', "issuing"),
        ('"issuer": "test-root"', '"issuer": "root"', "other hierarchy"),
        ('"issuing": "test-issuing"', '"issuing": "issuing"', "families.test.issuing"),
        ('"issuing": "issuing"', '"issuing": "root"', "families.production.issuing"),
        ('"profile": "tsa"', '"profile": "tsar"', "profile"),
        ("{", "[", "hierarchy"),
    ],
)
def test_a_hierarchy_that_does_not_hold_together_is_named(pair: Pair, old: str, new: str, named: str) -> None:
    path = pair.home.path / FILE_NAME
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ContentRefused) as caught:
        pair.home.roster()
    assert named in str(caught.value.fields)
    assert str(path) in str(caught.value)


def test_a_home_of_before_has_the_hierarchy_of_before(pair: Pair) -> None:
    (pair.home.path / FILE_NAME).unlink()
    roster = pair.home.roster()
    assert [one.name for one in roster.authorities] == [
        "root", "issuing", "test-root", "test-issuing", "client", "server",
    ]  # fmt: skip
    assert roster.family(Hierarchy.PRODUCTION).issuing == "issuing"
    # and may be changed like any other
    rolled_over(pair.home, 9)
    assert pair.home.roster().member("test-issuing-9").state == State.ACTIVE
