"""The sandbox over the wire: as its document says, felt by the next request, and nowhere for production."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

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
    before, advanced, failing, back = map(json.loads, done.stdout.split(b"\n")[:4])
    assert [one["failure"] for one in failing["failures"]] == ["ocsp_unknown", "rate_limited"]
    assert (before["failures"], back["failures"]) == ([], [])
    assert set(before["possible_failures"]) == set(re.findall(r"^\| `(\w+)` \|", document, re.MULTILINE))
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
        ("PUT", "/sandbox/failures", {"failures": [{"failure": "key_store_away"}]}),
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


def fail(partner: Partner, *failures: dict[str, object]) -> httpx.Response:
    return partner.client.put("/sandbox/failures", json={"failures": failures}, headers=partner.authorization)


@pytest.mark.parametrize("call", ["identity", "sign", "timestamp"])
def test_a_forced_failure_is_answered_as_the_real_one(partner: Partner, served: Served, call: str) -> None:
    identity = partner.post("/identity", JOHN_DOE).json()["id"]

    def ask() -> httpx.Response:
        if call == "identity":
            return partner.post("/identity", JOHN_DOE)
        return partner.get(f"/identity/{identity}/sign/{DIGEST}" if call == "sign" else f"/timestamp/{DIGEST}")

    before = partner.get("/quotas/signatures").json(), partner.get("/quotas/timestamps").json()
    for failure, status, field in (
        ("quota_used_up", 403, {"identity": "identities", "sign": "signatures", "timestamp": "timestamps"}[call]),
        ("rate_limited", 429, "rate"),
        ("key_store_away", 503, "key_store"),
    ):
        assert fail(partner, {"failure": failure, "remaining": 1}).status_code == 200
        answer = ask()
        assert (answer.status_code, list(answer.json()["errors"])) == (status, [field])
        assert ("retry-after" in answer.headers) == (status in {429, 503})
        assert ("ratelimit" in answer.headers) == ("ratelimit-policy" in answer.headers) == (status == 429)
        entry = served.intaglio("ledger", "show", "--kind", "failure.forced", "--most", "1")[0]
        assert (entry["request_id"], entry["account_id"]) == (answer.json()["id"], partner.account_id)
        assert entry["reference"] == failure
        # once was asked for, and nothing was spent
        assert partner.get("/sandbox").json()["failures"] == []
    assert (partner.get("/quotas/signatures").json(), partner.get("/quotas/timestamps").json()) == before
    assert ask().status_code == 200


def test_the_forced_rate_limit_says_what_the_real_one_says(partner: Partner, served: Served) -> None:
    served.intaglio("account", "rate", partner.account_id, "timestamps", "--per-second", "0.01", "--burst", "2")
    time.sleep(1)
    # What is forced to fail counts for the rate as what fails otherwise does: one is left then.
    fail(partner, {"failure": "rate_limited", "remaining": 1})
    forced, had, real = (partner.get(f"/timestamp/{DIGEST}") for _ in range(3))
    assert (had.status_code, real.status_code) == (200, 429)
    found = [{**one.json(), "id": ""} for one in (forced, real)]
    assert found[0] == found[1]
    assert set(forced.headers) == set(real.headers)
    assert forced.headers["ratelimit-policy"] == real.headers["ratelimit-policy"] == '"timestamps";q=2;w=200'
    waits = [int(one.headers["retry-after"]) for one in (forced, real)]
    assert waits[0] == 100
    assert 60 < waits[1] <= 100
    assert [one.headers["ratelimit"] for one in (forced, real)] == [f'"timestamps";r=0;t={wait}' for wait in waits]


def test_changes_of_a_sandbox_have_a_rate(partner: Partner) -> None:
    """100 at once and five in each second after."""
    begun = time.monotonic()
    answers: list[int] = []
    while 429 not in answers and len(answers) < 1000:
        answers.append(delete(partner))
    assert set(answers) == {200, 429}
    assert 100 <= len(answers) - 1 <= 101 + 5 * (time.monotonic() - begun)


def test_the_forced_quota_says_what_the_real_one_says(partner: Partner, served: Served, tmp_path: Path) -> None:
    poor = make_partner(served, tmp_path / "poor", "--kind", "individual", "--test", "--quota-timestamps", "0")
    fail(partner, {"failure": "quota_used_up"})
    answers = [one.get(f"/timestamp/{DIGEST}").json() for one in (partner, poor)]
    poor.client.close()
    for answer in answers:
        del answer["id"]
    assert answers[0] == answers[1]


def test_an_identity_that_is_not_there_is_not_found_whatever_is_forced(partner: Partner) -> None:
    fail(partner, {"failure": "quota_used_up"}, {"failure": "key_store_away"})
    assert partner.get(f"/identity/{'0' * 32}/sign/{DIGEST}").status_code == 404
    assert partner.post("/identity", {"unknown": 1}).status_code == 422


def test_ocsp_answers_unknown_about_the_account_alone(partner: Partner, organization: Partner, served: Served) -> None:
    made = partner.post("/identity", JOHN_DOE).json()
    neighbour = organization.post("/identity", {}).json()
    issuer = x509.load_pem_x509_certificate(partner.get("/trustchain").json()["trustchain"][0].encode())

    def answer(identity: dict[str, str]) -> httpx.Response:
        certificate = x509.load_pem_x509_certificate(identity["signing_cert"].encode())
        asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build()
        sent = {"content": asked.public_bytes(Encoding.DER), "headers": {"content-type": "application/ocsp-request"}}
        return httpx.post(f"{served.public}/ocsp", **sent)  # type: ignore[arg-type]

    def status(identity: dict[str, str]) -> ocsp.OCSPCertStatus:
        response = answer(identity)
        found = ocsp.load_der_ocsp_response(response.content).certificate_status
        assert (response.headers["cache-control"] == "no-store") == (found == ocsp.OCSPCertStatus.UNKNOWN)
        return found

    def remembered() -> bool:
        told = answer(made).content
        time.sleep(1.1)  # made anew, it would have a later thisUpdate
        return answer(made).content == told

    # Asked before, so that a remembered answer would be told again; what made the accounts may have it forgotten once.
    assert any(remembered() for _ in range(3))
    assert status(made) == status(neighbour) == ocsp.OCSPCertStatus.GOOD
    fail(partner, {"failure": "ocsp_unknown", "remaining": 3})
    assert status(neighbour) == ocsp.OCSPCertStatus.GOOD
    assert [status(made), status(made)] == [ocsp.OCSPCertStatus.UNKNOWN] * 2
    embedded = [base64.b64decode(partner.post("/identity", JOHN_DOE).json()["ocsp_response"]) for _ in range(2)]
    told = [ocsp.load_der_ocsp_response(one).certificate_status for one in embedded]
    assert told == [ocsp.OCSPCertStatus.UNKNOWN, ocsp.OCSPCertStatus.GOOD]
    assert status(made) == ocsp.OCSPCertStatus.GOOD


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"failures": [{"failure": "gremlins"}]}, 400),
        ({"failures": [{"failure": "rate_limited", "remaining": 1.5}]}, 400),
        ({"failures": [{"failure": "rate_limited", "remaining": True}]}, 400),
        ({"failures": {"failure": "rate_limited"}}, 400),
        ({}, 400),
        (None, 400),
        ({"failures": [{"failure": "rate_limited", "remaining": 0}]}, 422),
        ({"failures": [{"failure": "rate_limited", "remaining": -1}]}, 422),
        ({"failures": [{"failure": "rate_limited", "remaining": 10**30}]}, 422),
        ({"failures": [{"failure": "rate_limited"}, {"failure": "rate_limited"}]}, 422),
    ],
)
def test_what_names_no_failures_is_refused(organization: Partner, wanted: object, status: int) -> None:
    answer = organization.client.put("/sandbox/failures", json=wanted, headers=organization.authorization)
    assert answer.status_code == status
    assert organization.get("/sandbox").json()["failures"] == []


def test_what_another_process_changes_is_met_within_a_second(partner: Partner, served: Served) -> None:
    made = partner.post("/identity", JOHN_DOE).json()
    assert partner.get(f"/identity/{made['id']}/sign/{DIGEST}").status_code == 200
    served.intaglio("sandbox", "advance", partner.account_id, "600")
    time.sleep(1)
    assert partner.get(f"/identity/{made['id']}/sign/{DIGEST}").status_code == 404
    future = partner.post("/identity", JOHN_DOE).json()
    assert partner.get(f"/identity/{future['id']}/sign/{DIGEST}").status_code == 200
    served.intaglio("sandbox", "reset", partner.account_id)
    time.sleep(1)
    assert partner.get(f"/identity/{future['id']}/sign/{DIGEST}").status_code == 401
    partner.login()
    assert partner.get(f"/identity/{future['id']}/sign/{DIGEST}").status_code == 404
