"""The sandbox over the wire: as its document says, felt by the next request, and nowhere for production."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509

from served import JOHN_DOE, Partner, Served, make_partner, run

ROOT = Path(__file__).parents[2]
DIGEST = "AB" * 32


@pytest.fixture
def partner(served: Served, tmp_path: Path) -> Iterator[Partner]:
    made = make_partner(served, tmp_path / "player", "--kind", "individual", "--test")
    yield made
    made.client.close()


def delete(partner: Partner) -> int:
    return partner.client.delete("/sandbox", headers=partner.authorization).status_code


def test_the_commands_of_the_document_do_what_it_says(partner: Partner, served: Served) -> None:
    document = (ROOT / "docs/integrate/sandbox.md").read_text()
    first = (ROOT / "docs/integrate/first-signature.md").read_text().split("## 4. Log in\n")[1].split("\n## ")[0]
    commands = [
        re.sub(r"^    ", "", block, flags=re.MULTILINE)
        for block in re.findall(r"(?:^    .*\n)+", document, re.MULTILINE)
    ]
    setup = "".join(line[4:] + "\n" for line in first.splitlines() if line.startswith("    "))
    setup = setup.replace("https://localhost:8443/v2", served.url)
    (partner.folder / "privateKey.key").symlink_to("client.key")
    shutil.copy(served.home / "tls/server-ca.crt", partner.folder)
    script = setup + "\n".join(f"{command}\necho" for command in commands)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=partner.folder, env=os.environ, capture_output=True, timeout=60, check=True
    )
    before, advanced, back = map(json.loads, done.stdout.split(b"\n")[:3])
    assert (before["ahead_seconds"], advanced["ahead_seconds"], back["ahead_seconds"]) == (0, 600, 0)
    assert before["most_ahead_seconds"] == 31_622_400
    assert "31,622,400" in document


def test_the_next_request_is_in_the_account_s_time(partner: Partner, served: Served, tmp_path: Path) -> None:
    old = partner.post("/identity", JOHN_DOE).json()
    assert partner.get(f"/identity/{old['id']}/sign/{DIGEST}").status_code == 200
    state = partner.post("/sandbox/clock", {"advance_seconds": 600}).json()
    assert partner.get(f"/identity/{old['id']}/sign/{DIGEST}").status_code == 404
    made = partner.post("/identity", JOHN_DOE).json()
    certificate = x509.load_pem_x509_certificate(made["signing_cert"].encode())
    begins = certificate.not_valid_before_utc - datetime.fromisoformat(state["account_time"])
    assert timedelta(seconds=-1) < begins < timedelta(seconds=20)
    assert partner.get(f"/identity/{made['id']}/sign/{DIGEST}").status_code == 200
    # openssl finds the responder's answer in force at the account's time, and not yet at the real one
    chain = partner.get("/trustchain").json()["trustchain"]
    for name, pem in (("signer", made["signing_cert"]), ("issuing", chain[0]), ("root", chain[-1])):
        (tmp_path / f"{name}.pem").write_text(pem)
    at = int(certificate.not_valid_before_utc.timestamp()) + 10
    command = ("openssl", "ocsp", "-issuer", tmp_path / "issuing.pem", "-cert", tmp_path / "signer.pem", "-no_nonce",
               "-CAfile", tmp_path / "root.pem", "-url", f"{served.public}/ocsp", "-attime", str(at))  # fmt: skip
    told = run(*command, check=False)
    assert b"good" in told.stdout
    this_update = re.search(rb"This Update: (.*)", told.stdout)
    assert this_update is not None
    moment = datetime.strptime(f"{this_update[1].decode()}+0000", "%b %d %H:%M:%S %Y GMT%z")
    assert moment >= certificate.not_valid_before_utc


def test_a_token_ends_by_the_account_s_time_and_none_from_the_future_comes_back(partner: Partner) -> None:
    early = partner.token
    partner.post("/sandbox/clock", {"advance_seconds": 1790})
    assert partner.get("/sandbox").status_code == 200
    partner.post("/sandbox/clock", {"advance_seconds": 20})
    assert partner.get("/sandbox").status_code == 401
    late = partner.login()
    claims = jwt.decode(late, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 1800
    assert abs(claims["iat"] - time.time() - 1810) < 20
    assert partner.get("/sandbox").json()["ahead_seconds"] == 1810
    assert delete(partner) == 200
    for token in (early, late):
        partner.token = token
        answer = partner.get("/sandbox")
        assert (answer.status_code, list(answer.json()["errors"])) == (401, ["authorization"])
    partner.login()
    assert partner.get("/sandbox").json()["ahead_seconds"] == 0


def test_production_finds_nothing_there(individual: Partner, partner: Partner) -> None:
    nowhere = individual.get("/sandbocks").json()
    for method, path, body in (
        ("GET", "/sandbox", None),
        ("DELETE", "/sandbox", None),
        ("POST", "/sandbox/clock", {"advance_seconds": 600}),
        ("POST", "/sandbox/clock", {"advance_seconds": "x"}),
    ):
        for token, status in ((individual.token, 404), (partner.token, 401)):
            headers = {"Authorization": f"Bearer {token}"}
            answer = individual.client.request(method, path, json=body, headers=headers)
            assert answer.status_code == status
            if status == 404:
                assert (answer.json()["errors"], answer.json()["description"]) == (
                    nowhere["errors"],
                    nowhere["description"],
                )


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"advance_seconds": -600}', 422, "advance_seconds"),
        (b'{"advance_seconds": 0}', 422, "advance_seconds"),
        (b'{"advance_seconds": 99999999999999999999999999}', 422, "advance_seconds"),
        (b'{"advance_seconds": 1e400}', 400, "body"),
        (b'{"advance_seconds": NaN}', 400, "body"),
        (b'{"advance_seconds": true}', 400, "advance_seconds"),
        (b'{"advance_seconds": 600.5}', 400, "advance_seconds"),
        (b'{"advance_seconds": 600, "account": "x"}', 400, "advance_seconds"),
        (b"", 400, "body"),
    ],
)
def test_a_step_that_is_none_is_refused(organization: Partner, body: bytes, status: int, field: str) -> None:
    headers = {**organization.authorization, "Content-Type": "application/json"}
    answer = organization.client.post("/sandbox/clock", content=body, headers=headers)
    assert (answer.status_code, list(answer.json()["errors"])) == (status, [field])
    assert organization.get("/sandbox").json()["ahead_seconds"] == 0


def test_what_a_test_account_gets_says_that_it_is_for_tests(organization: Partner, individual: Partner) -> None:
    """Issuer and policy, of the certificate and of the TSA; the control is an account of production."""
    for partner, test in ((organization, True), (individual, False)):
        request = {} if test else JOHN_DOE
        certificate = x509.load_pem_x509_certificate(partner.post("/identity", request).json()["signing_cert"].encode())
        policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
        arcs = {one.policy_identifier.dotted_string.removeprefix("1.3.6.1.4.1.32473.")[:2] for one in policies}
        chain = [
            x509.load_pem_x509_certificate(pem.encode()) for pem in partner.get("/trustchain").json()["trustchain"]
        ]
        names = [certificate.issuer, *(one.subject for one in chain)]
        assert all(("TEST" in name.rfc4514_string()) == test for name in names)
        assert arcs == ({"2."} if test else {"1."})
