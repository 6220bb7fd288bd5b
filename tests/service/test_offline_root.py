"""A production hierarchy whose root is offline, installed into a running service: what it signs holds for the root."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from custody import init_options
from intaglio.accounts import onboarding
from intaglio.database.engine import reading, transaction
from intaglio.pki.hierarchy import Hierarchy
from intaglio.revocation import register
from intaglio.service import authorities
from intaglio.service.home import Home, open_home
from offline import carried, empty_home, install_offline_root, now, publish
from served import BIN, Partner, Served, free_port, make_partner, run

CONTRACT = Path(__file__).parents[2] / "examples/contract/contract.pdf"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("offline") / "home", free_port(), free_port())
    ports = ("--api-port", str(served.api_port), "--pki-port", str(served.pki_port))
    served.intaglio(
        "init", *ports, "--algorithm", "p-256", "--offline-root", "--public-url", served.public, *init_options()
    )
    served.start()
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="module")
def partner(service: Served) -> Iterator[Partner]:
    found = make_partner(service, service.home.parent / "partner", "--kind", "individual")
    yield found
    found.client.close()


@pytest.fixture(scope="module")
def vault(service: Served) -> Home:
    return empty_home(service.home.parent / "vault", service.public)


@pytest.fixture(scope="module")
def home(service: Served) -> Iterator[Home]:
    opened = open_home(service.home)
    yield opened
    opened.close()


def ocsp_says(service: Served, certificate: Path, root: Path) -> str:
    asked = ("-issuer", root, "-cert", certificate, "-url", f"{service.public}/ocsp", "-CAfile", root)
    done = run("openssl", "ocsp", *asked)
    assert b"Response verify OK" in done.stderr
    return done.stdout.decode()


def test_production_begins_when_its_authorities_come_in(
    service: Served, partner: Partner, vault: Home, home: Home, tmp_path: Path
) -> None:
    person = {"subject_dn": {"common_name": "Ada", "country": "GB"}}
    assert partner.post("/identity", person).status_code == 503
    assert partner.get(f"/timestamp/{'ab' * 32}").status_code == 503
    assert partner.get("/trustchain").status_code == 503
    assert "production has no issuing CA" in service.intaglio("certificate", "list")["notices"]

    install_offline_root(home, vault, "root", "Root CA")
    carried(home, vault, "root", "issuing", "issuing", "Document Signing CA", "p-384")
    carried(home, vault, "root", "tsa", "tsa", "Time-Stamping Authority", "p-384")
    authorities.activate(home, Hierarchy.PRODUCTION, "issuing", now())
    authorities.activate(home, Hierarchy.PRODUCTION, "tsa", now())
    for _ in range(200):
        # The TSA serves a moment after the issuing CA.
        if {partner.post("/identity", person).status_code, partner.get(f"/timestamp/{'ab' * 32}").status_code} == {200}:
            break
        time.sleep(0.05)
    assert not (service.home / "keys/root.sealed").exists()

    # The SDK signs for the long term; its judge has nothing but the root.
    signed, root = tmp_path / "signed.pdf", vault.path / "pki/root.crt"
    connection = (
        "--base-url", f"https://localhost:{service.api_port}", "--credentials", partner.folder / "credentials.json",
        "--client-cert", partner.folder / "client.crt", "--client-key", partner.folder / "client.key",
        "--server-ca", service.home / "tls/server-ca.crt",
    )  # fmt: skip
    person_options = ("--cn", "Ada", "--country", "GB", "--level", "B-LTA")
    run(BIN / "intaglio-client", "sign", CONTRACT, signed, *person_options, *connection)
    for later in ("now", "+20 minutes", "+90 days"):
        report = run("faketime", later, BIN / "intaglio-client", "verify", signed, "--trust", root, "--json")
        assert b'"VALID"' in report.stdout, later
    assert b"Signature is Valid" in run("pdfsig", "-nocert", signed).stdout
    # the control: the other root does not vouch
    other = service.home / "pki/test-root.crt"
    assert run(BIN / "intaglio-client", "verify", signed, "--trust", other, check=False).returncode

    for name in ("issuing", "tsa"):
        assert "good" in ocsp_says(service, service.home / f"pki/{name}.crt", root)
    listed = {one["name"]: one for one in service.intaglio("certificate", "list")["members"]}
    assert (listed["root"]["key"], listed["root"]["crl_number"]) == ("elsewhere", 1)
    assert listed["issuing"]["serves"] == "production"


def test_its_list_is_the_one_imported_and_never_another(
    service: Served, vault: Home, home: Home, tmp_path: Path
) -> None:
    published = httpx.get(f"{service.public}/crl/root.crl").raise_for_status().content
    assert x509.load_der_x509_crl(published).public_bytes(Encoding.DER) == published
    short = tmp_path / "root.crl"
    short.write_bytes(publish(vault, "root", timedelta(hours=1)))
    service.intaglio("certificate", "import-crl", "root", short)
    assert httpx.get(f"{service.public}/crl/root.crl").content == short.read_bytes()
    # One that ends in a while is told of: a week's list in its last quarter.
    with transaction(home.engine) as connection:
        latest = register.latest_list(connection, "root")
        assert latest is not None
        connection.execute(
            register.revocation_lists.update()
            .where(register.revocation_lists.c.issuer == "root", register.revocation_lists.c.number == latest.number)
            .values(this_update=now() - timedelta(days=6))
        )
    assert any("list of root ends" in notice for notice in service.intaglio("certificate", "list")["notices"])
    # The service has been making others all the while, and would have made this one, had it the key.
    time.sleep(6)
    assert httpx.get(f"{service.public}/crl/root.crl").content == short.read_bytes()
    service.stop()
    service.start()
    time.sleep(1)
    told = [json.loads(line)["message"] for line in service.log.read_text().splitlines() if '"WARNING"' in line]
    assert any("the revocation list of root ends" in one for one in told)


def test_what_the_offline_root_revokes_is_revoked_here(
    service: Served, partner: Partner, vault: Home, home: Home, tmp_path: Path
) -> None:
    partner.login()
    issuing = home.certificate("issuing")
    stray = 0xABCDEF << 72  # one that the root issued and this home never saw
    for serial in (f"{issuing.serial_number:x}", f"{stray:x}"):
        with transaction(vault.engine) as connection:
            if serial == f"{stray:x}":
                register.adopt_revoked(connection, "root", serial, now(), now() + timedelta(days=9))
            onboarding.revoke_certificate(connection, vault.chain, "root", serial, "cACompromise", now())
    (tmp_path / "root.crl").write_bytes(publish(vault, "root"))
    service.intaglio("certificate", "import-crl", "root", tmp_path / "root.crl")
    time.sleep(1)
    root = vault.path / "pki/root.crt"
    said = ocsp_says(service, service.home / "pki/issuing.crt", root)
    assert "revoked" in said
    assert "cACompromise" in said
    stray_status = run("openssl", "ocsp", "-issuer", root, "-serial", f"0x{stray:x}", "-url", f"{service.public}/ocsp",
                       "-CAfile", root)  # fmt: skip
    assert b"revoked" in stray_status.stdout
    answer = partner.post("/identity", {"subject_dn": {"common_name": "Ada", "country": "GB"}})
    assert answer.status_code == 503
    judged = run("openssl", "verify", "-crl_check", "-CAfile", root, "-CRLfile", tmp_path / "root.crl",
                 service.home / "pki/issuing.crt", check=False)  # fmt: skip
    assert b"certificate revoked" in judged.stderr
    with reading(home.engine) as connection:
        kinds = [standing.serial for standing in register.revoked(connection, "root")]
    assert len(kinds) == 2


def test_a_responder_of_an_offline_root_is_renewed_for_its_key(
    service: Served, vault: Home, home: Home, tmp_path: Path
) -> None:
    before = home.certificate("root-ocsp")
    request, signed = tmp_path / "root-ocsp.csr", tmp_path / "root-ocsp.crt"
    service.staffed()
    service.intaglio("certificate", "renew", "root-ocsp", "--request", request)
    csr = x509.load_pem_x509_csr(request.read_bytes())
    made = authorities.sign_request(vault, "root", csr, profile="ocsp", title="Root CA OCSP Responder", now=now())
    signed.write_bytes(made.public_bytes(Encoding.PEM))
    service.intaglio("certificate", "renew", "root-ocsp", "--certificate", signed)
    for options in (("issuing-ocsp",), ("issuing", "--request", tmp_path / "x"), ("issuing", "--certificate", signed)):
        again = ("certificate", "renew", *options, "--home", service.home)
        done = run(BIN / "intaglio", *again, check=False, environment=service.environment)
        assert done.returncode == (0 if len(options) == 1 else 1)
    after = home.certificate("root-ocsp")
    assert after != before
    assert after.public_key() == before.public_key()


def test_issuing_ca_and_tsa_may_be_under_different_roots(service: Served, home: Home, tmp_path: Path) -> None:
    vault = empty_home(tmp_path / "vault", service.public)
    install_offline_root(home, vault, "test-root-2", "TEST Root CA 2", test=True)
    carried(home, vault, "test-root-2", "test-issuing-2", "issuing", "TEST Document Signing CA 2", "p-256")
    authorities.activate(home, Hierarchy.TEST, "test-issuing-2", now())
    partner = make_partner(service, tmp_path / "partner", "--kind", "individual", "--test")
    roots = (vault.path / "pki/test-root-2.crt", service.home / "pki/test-root.crt")
    for _ in range(200):
        if partner.get("/trustchain").json()["trustchain"][-1] == roots[0].read_text():
            break
        time.sleep(0.05)
    signed = tmp_path / "signed.pdf"
    connection = (
        "--base-url", f"https://localhost:{service.api_port}", "--credentials", partner.folder / "credentials.json",
        "--client-cert", partner.folder / "client.crt", "--client-key", partner.folder / "client.key",
        "--server-ca", service.home / "tls/server-ca.crt",
    )  # fmt: skip
    person = ("--cn", "Ada", "--country", "GB", "--level", "B-LTA")
    run(BIN / "intaglio-client", "sign", CONTRACT, signed, *person, *connection)
    trusted = [part for root in roots for part in ("--trust", root)]
    report = run("faketime", "+20 minutes", BIN / "intaglio-client", "verify", signed, *trusted, "--json")
    assert b'"VALID"' in report.stdout
    partner.client.close()
