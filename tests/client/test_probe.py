"""The probe against the real service, well and not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from typer.testing import CliRunner

from intaglio_client import revocation
from intaglio_client.cli import app
from intaglio_client.errors import UnexpectedAnswer, Unreachable
from served import ADMINISTRATION, BIN, Partner, Served, free_port, run

ALL = ["resolve", "connect", "tls", "login", "identity", "sign", "chain", "timestamp", "ocsp", "crl"]


def profile(partner: Partner, served: Served, **said: Any) -> Path:
    """Write a profile beside the credentials, its identity as the account's policy asks for it."""
    place = partner.folder / "probe.json"
    known = {
        "base_url": f"https://localhost:{served.api_port}",
        "credentials": "credentials.json",
        "client_cert": "client.crt",
        "client_key": "client.key",
        "server_ca": str(served.home / "tls/server-ca.crt"),
        "identity": ADMINISTRATION,
    }
    place.write_text(json.dumps({**known, **said}))
    return place


def probed(partner: Partner, profile: Path, root: Path, *options: str) -> tuple[int, dict[str, str], Any]:
    done = CliRunner().invoke(app, ["probe", "--profile", str(profile), "--trust", str(root), "--json", *options])
    for secret in (*partner.secret.values(), "eyJ", "PRIVATE"):
        assert secret not in done.output
    if done.exit_code == 1:
        return 1, {}, done.output
    found = json.loads(done.stdout)
    return done.exit_code, {step["name"]: step["outcome"] for step in found["steps"]}, found


@pytest.fixture
def root(served: Served) -> Path:
    return served.home / "pki/test-root.crt"


def test_all_is_well_and_it_costs_one_of_each(organization: Partner, served: Served, root: Path) -> None:
    def made() -> list[int]:
        names = ("identities", "signatures", "timestamps")
        return [organization.get(f"/counters/{name}").json()["value"] for name in names]

    before = made()
    code, outcomes, found = probed(organization, profile(organization, served), root, "--crl")
    assert (code, outcomes) == (0, dict.fromkeys(ALL, "ok")), found
    assert found["well"] is True
    assert all(step["milliseconds"] > 0 for step in found["steps"])
    assert [after - one for after, one in zip(made(), before, strict=True)] == [1, 1, 1]


def test_the_server_s_command_is_the_same(organization: Partner, served: Served, root: Path) -> None:
    options = ("--profile", profile(organization, served), "--trust", root)
    told = run(BIN / "intaglio", "probe", *options).stdout.decode().splitlines()
    assert told[0].startswith("OK: 9 steps in ")
    assert "| resolve=" in told[0]
    assert [line.split()[0] for line in told[1:]] == ALL[:-1]
    assert run(BIN / "intaglio", "probe", *options, "--warn-ms", "0", check=False).returncode == 2


def test_another_root_vouches_neither_for_signer_nor_for_stamp(organization: Partner, served: Served) -> None:
    code, outcomes, _ = probed(organization, profile(organization, served), served.home / "pki/root.crt")
    assert code == 2
    assert {name for name, outcome in outcomes.items() if outcome == "wrong"} == {"chain", "timestamp"}
    assert outcomes["ocsp"] == "skipped"


def test_what_the_account_has_fail_is_seen_and_the_rest_still_tried(
    organization: Partner, served: Served, root: Path
) -> None:
    place = profile(organization, served)
    for failure, wrong in (("ocsp_unknown", "ocsp"), ("quota_used_up", "timestamp"), ("key_store_away", "identity")):
        asked = {"failures": [{"failure": failure}]}
        organization.client.put("/sandbox/failures", json=asked, headers=organization.authorization).raise_for_status()
        try:
            code, outcomes, found = probed(organization, place, root)
        finally:
            organization.client.delete("/sandbox", headers=organization.authorization)
        assert code == 2, failure
        assert outcomes[wrong] == "wrong", found["steps"]
        if failure == "ocsp_unknown":
            assert outcomes == {name: "wrong" if name == "ocsp" else "ok" for name in ALL[:-1]}


def test_nobody_there_and_nothing_to_try(organization: Partner, served: Served, root: Path, tmp_path: Path) -> None:
    away = profile(organization, served, base_url=f"https://localhost:{free_port()}")
    code, outcomes, _ = probed(organization, away, root, "--timeout", "2")
    assert (code, outcomes["connect"], outcomes["ocsp"]) == (2, "wrong", "skipped")
    stranger = profile(organization, served, server_ca=str(served.home / "tls/client-ca.crt"))
    code, outcomes, found = probed(organization, stranger, root)
    assert (code, outcomes["tls"], outcomes["login"]) == (2, "wrong", "skipped"), found
    good = profile(organization, served)
    assert probed(organization, good, tmp_path / "none.crt")[0] == 1
    assert probed(organization, tmp_path / "none.json", root)[0] == 1
    assert probed(organization, profile(organization, served, client_key="none.key"), root)[0] == 1


def test_a_clock_that_is_wrong_is_seen(organization: Partner, served: Served, root: Path) -> None:
    options = ("--profile", profile(organization, served), "--trust", root, "--json")
    done = run("faketime", "+30 seconds", BIN / "intaglio-client", "probe", *options, check=False)
    outcomes = {step["name"]: step["outcome"] for step in json.loads(done.stdout)["steps"]}
    assert done.returncode == 2
    assert {name for name, outcome in outcomes.items() if outcome == "wrong"} == {"timestamp"}


@contextmanager
def answering(content: bytes, status: int = 200) -> Iterator[str]:
    """Answer everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the name is the library's

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_no_status_but_a_good_one_is_taken(organization: Partner) -> None:
    def made() -> x509.Certificate:
        pem = organization.post("/identity", ADMINISTRATION).json()["signing_cert"]
        return x509.load_pem_x509_certificate(pem.encode())

    def asked(certificate: x509.Certificate) -> bytes:
        built = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()
        content = built.public_bytes(serialization.Encoding.DER)
        return httpx.post(responder, content=content, headers={"Content-Type": "application/ocsp-request"}).content

    issuer = x509.load_pem_x509_certificate(organization.get("/certificate_path").json()["path"].encode())
    one, other = made(), made()
    (responder,) = revocation.responders(one)
    good, now = asked(one), datetime.now(UTC)
    cut = bytearray(good)
    cut[cut.index(ocsp.load_der_ocsp_response(good).signature) + 9] ^= 1
    wrong = {
        "no OCSP response": b"nonsense",
        "try_later": b"\x30\x03\x0a\x01\x03",
        "another certificate": asked(other),
        "not signed by": bytes(cut),
    }
    with answering(good) as url:
        assert abs(revocation.ask(url, one, issuer, now, 5) - now) < timedelta(seconds=60)
        with pytest.raises(UnexpectedAnswer, match="over since"):
            revocation.ask(url, one, issuer, now + timedelta(days=400), 5)
        with pytest.raises(UnexpectedAnswer, match="future"):
            revocation.ask(url, one, issuer, now - timedelta(hours=1), 5)
    for text, content in wrong.items():
        with answering(content) as url, pytest.raises(UnexpectedAnswer, match=text):
            revocation.ask(url, one, issuer, now, 5)
    with answering(good, 503) as url, pytest.raises(UnexpectedAnswer, match="503"):
        revocation.ask(url, one, issuer, now, 5)
    with pytest.raises(Unreachable):
        revocation.ask(f"http://127.0.0.1:{free_port()}/", one, issuer, now, 5)
    with answering(good) as url, pytest.raises(UnexpectedAnswer, match="no CRL"):
        revocation.look(url, one, issuer, now, 5)
