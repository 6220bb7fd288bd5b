"""Rollover of an issuing CA in a running service, and its revocation, judged from outside by openssl and the SDK."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from custody import init_options
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service import authorities
from intaglio.service.home import open_home
from offline import now, rolled_over
from served import ADMINISTRATION, BIN, Partner, Served, decoded, free_port, make_partner, run

CONTRACT = Path(__file__).parents[2] / "examples/contract/contract.pdf"
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("rollover") / "home", free_port(), free_port())
    ports = ("--api-port", str(served.api_port), "--pki-port", str(served.pki_port))
    served.intaglio("init", *ports, "--algorithm", "p-256", "--host", "localhost", *init_options())
    served.start()
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="module")
def partner(service: Served) -> Iterator[Partner]:
    found = make_partner(service, service.home.parent / "partner", "--kind", "employee", "--organization", "A Ltd",
                         "--country", "DE", "--test")  # fmt: skip
    yield found
    found.client.close()


def eventually(done: Callable[[], bool]) -> None:
    for _ in range(300):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def identity(partner: Partner, **more: object) -> dict[str, str]:
    answer = partner.post("/identity", {"subject_dn": {"common_name": "Ada", **more}})
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def issuer_of(pem: str) -> str:
    names = x509.load_pem_x509_certificate(pem.encode()).issuer
    return str(names.rfc4514_string().split(",")[0].removeprefix("CN=Intaglio "))


def path_of(partner: Partner) -> list[str]:
    blocks = x509.load_pem_x509_certificates(partner.get("/certificate_path").json()["path"].encode())
    return [one.subject.rfc4514_string().split(",")[0].removeprefix("CN=Intaglio ") for one in blocks]


def check_from_outside(service: Served, partner: Partner, made: dict[str, str], issuing: str, folder: Path) -> None:
    """Have openssl judge an identity's certificate by chain, OCSP and CRL, and its signature by its key."""
    files = {name: service.home / f"pki/{name}.crt" for name in ("test-root", issuing)}
    signer = folder / "signer.pem"
    signer.write_text(made["signing_cert"])
    run("openssl", "verify", "-x509_strict", "-CAfile", files["test-root"], "-untrusted", files[issuing], signer)
    asked = ("-issuer", files[issuing], "-cert", signer, "-url", f"{service.public}/ocsp")
    trusted = ("-CAfile", files["test-root"], "-verify_other", files[issuing])
    status = run("openssl", "ocsp", *asked, *trusted)
    assert b"good" in status.stdout
    assert b"Response verify OK" in status.stderr
    # the response that came with it
    (folder / "given.der").write_bytes(decoded(made["ocsp_response"]))
    status = run("openssl", "ocsp", "-respin", folder / "given.der", *asked[:4], *trusted)
    assert b"good" in status.stdout
    # where its certificate says that its issuer and the list are
    text = run("openssl", "x509", "-in", signer, "-noout", "-text").stdout.decode()
    assert f"/ca/{issuing}.crt" in text
    assert f"/crl/{issuing}.crl" in text
    listed = folder / f"{issuing}.crl"
    listed.write_bytes(httpx.get(f"{service.public}/crl/{issuing}.crl").raise_for_status().content)
    judged = run("openssl", "crl", "-inform", "DER", "-in", listed, "-CAfile", files[issuing], "-noout")
    assert b"verify OK" in judged.stderr + judged.stdout
    der = httpx.get(f"{service.public}/ca/{issuing}.crt").raise_for_status().content
    assert der == x509.load_pem_x509_certificate(files[issuing].read_bytes()).public_bytes(Encoding.DER)
    # its key signs
    assert partner.get(f"/identity/{made['id']}/sign/{DIGEST}").status_code == 200


def sign_and_judge(service: Served, partner: Partner, folder: Path) -> None:
    signed = folder / "signed.pdf"
    connection = (
        "--base-url", f"https://localhost:{service.api_port}", "--credentials", partner.folder / "credentials.json",
        "--client-cert", partner.folder / "client.crt", "--client-key", partner.folder / "client.key",
        "--server-ca", service.home / "tls/server-ca.crt",
    )  # fmt: skip
    run(BIN / "intaglio-client", "sign", CONTRACT, signed, "--cn", "Ada", "--level", "B-LTA", *connection)
    root = service.home / "pki/test-root.crt"
    report = run("faketime", "+170 days", BIN / "intaglio-client", "verify", signed, "--trust", root, "--json")
    assert b'"VALID"' in report.stdout


OLD, NEW = "TEST Document Signing CA", "TEST Document Signing CA 2"


def test_both_go_on_and_each_caller_gets_the_path_that_fits(service: Served, partner: Partner, tmp_path: Path) -> None:
    before = identity(partner)
    assert issuer_of(before["signing_cert"]) == OLD
    home = open_home(service.home)
    name = rolled_over(home)
    assert path_of(partner) == [OLD]
    other = make_partner(service, tmp_path / "other", "--kind", "employee", "--organization", "B Ltd",
                         "--country", "DE", "--test")  # fmt: skip
    authorities.activate(home, Hierarchy.TEST, name, now())
    home.close()

    # Who has no identity of before sees the new CA alone, as soon as it serves.
    eventually(lambda: path_of(other) == [NEW])
    # Who made one before the switch is told its issuer first: clients read the first as the issuer.
    assert path_of(partner) == [OLD, NEW]
    chain = partner.get("/trustchain").json()["trustchain"]
    assert chain[-1] == (service.home / "pki/test-root.crt").read_text()
    check_from_outside(service, partner, before, "test-issuing", tmp_path)

    after = identity(partner)
    assert issuer_of(after["signing_cert"]) == NEW
    assert path_of(partner) == [NEW, OLD]
    trust = partner.get("/trustchain").json()
    assert len(trust["ocsp_revocation_info"]) == 3
    check_from_outside(service, partner, after, name, tmp_path)
    check_from_outside(service, partner, before, "test-issuing", tmp_path)
    sign_and_judge(service, partner, tmp_path)
    listed = {one["name"]: one for one in service.intaglio("certificate", "list")["members"]}
    assert (listed["test-issuing"]["state"], listed["test-issuing"]["serves"]) == ("retired", None)
    assert (listed[name]["state"], listed[name]["serves"], listed[name]["algorithm"]) == ("active", "test", "p-384")
    assert listed["test-issuing"]["crl_number"] >= 1
    other.client.close()


def test_a_revoked_issuing_ca_issues_nothing_until_another_serves(
    service: Served, partner: Partner, tmp_path: Path
) -> None:
    live = identity(partner)
    assert issuer_of(live["signing_cert"]) == NEW
    certificate = service.home / "pki/test-issuing-2.crt"
    serial = f"{x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number:x}"
    service.intaglio("certificate", "revoke", serial, "--issuer", "test-root", "--reason", "keyCompromise")
    time.sleep(1)
    refused = partner.post("/identity", ADMINISTRATION)
    assert (refused.status_code, list(refused.json()["errors"])) == (503, ["issuance"])
    assert "test-issuing-2" not in refused.text
    assert "test-issuing-2 is revoked" in service.log.read_text()
    # nothing it issued signs any more, however young, and everybody is told why
    assert partner.get(f"/identity/{live['id']}/sign/{DIGEST}").status_code == 404
    root = service.home / "pki/test-root.crt"
    status = run("openssl", "ocsp", "-issuer", root, "-cert", certificate, "-url", f"{service.public}/ocsp",
                 "-CAfile", root)  # fmt: skip
    assert b"revoked" in status.stdout
    assert any("test is not served" in notice for notice in service.intaglio("certificate", "list")["notices"])
    # a time-stamp needs no issuing CA
    assert partner.get(f"/timestamp/{DIGEST}").status_code == 200

    home = open_home(service.home)
    name = rolled_over(home, 3, algorithm="rsa-2048")
    authorities.activate(home, Hierarchy.TEST, name, now())
    home.close()
    eventually(lambda: partner.post("/identity", {"subject_dn": {"common_name": "Ada"}}).status_code == 200)
    made = identity(partner)
    assert issuer_of(made["signing_cert"]) == "TEST Document Signing CA 3"
    # what is revoked is in no path
    assert NEW not in path_of(partner)
    check_from_outside(service, partner, made, name, tmp_path)


def test_a_restart_changes_nothing(service: Served, partner: Partner, tmp_path: Path) -> None:
    assert service.stop() == 0
    service.start()
    partner.login()
    made = identity(partner)
    check_from_outside(service, partner, made, "test-issuing-3", tmp_path)
