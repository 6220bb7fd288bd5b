"""Every bad request of the table gets its status, its field, an id, the exact content type, and an entry."""

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.bad_requests import BAD, Bad, ask
from intaglio import errors
from intaglio.api import problems
from intaglio.ledger.refusals import MOST_OF_ONE
from served import JOHN_DOE, Partner, Served, make_partner, run, tls

DIGEST = "AB" * 32


@contextmanager
def connected(served: Served, folder: Path | None) -> Iterator[ssl.SSLSocket]:
    """Yield a TLS connection to the API that authenticates with the certificate in `folder`."""
    with (
        socket.create_connection(("localhost", served.api_port), timeout=15) as plain,
        tls(served, folder).wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        yield secure


def answered(served: Served, folder: Path | None) -> bool:
    """Return whether the API answers over such a connection at all."""
    try:
        with connected(served, folder) as secure:
            secure.sendall(b"GET /v2/trustchain HTTP/1.1\r\nHost: x\r\n\r\n")
            return secure.recv(1) != b""
    except OSError:
        return False


@pytest.mark.parametrize("bad", BAD, ids=[bad.wrong for bad in BAD])
def test_bad_request(individual: Partner, bad: Bad) -> None:
    answer = ask(individual.client, individual.token, bad)
    assert (answer.status_code, answer.headers["content-type"]) == (bad.status, problems.CONTENT_TYPE)
    body = answer.json()
    assert bad.field in body["errors"], body
    assert body["id"] == answer.headers["x-request-id"]
    assert {"description", "type", "title", "status", "detail", "instance"} <= set(body)
    if bad.status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if bad.status == 405:
        assert answer.headers["allow"]


def test_every_refusal_has_its_entry(individual: Partner, served: Served) -> None:
    answer = individual.get("/timestamp/nonsense")
    entry = served.intaglio("ledger", "show", "--kind", "request.refused", "--most", "1")[0]
    assert entry["request_id"] == answer.json()["id"]
    assert entry["account_id"] == individual.account_id


def test_the_entry_of_a_refusal_by_transport_names_what_was_wrong(individual: Partner, served: Served) -> None:
    headers = {**individual.authorization, "Content-Type": "text/plain"}
    answer = individual.client.post("/identity", content=b"x", headers=headers)
    entry = served.intaglio("ledger", "show", "--kind", "request.refused", "--most", "1")[0]
    assert (answer.status_code, entry["request_id"]) == (415, answer.json()["id"])
    assert entry["details"]["errors"] == answer.json()["errors"]


def test_thousands_of_refused_fields_make_a_short_entry(individual: Partner, served: Served) -> None:
    request = {f"{number:04}" + "x" * 200: 1 for number in range(200)}
    answer = individual.post("/identity", request)
    assert len(answer.json()["errors"]) > 200
    entry = served.intaglio("ledger", "show", "--kind", "request.refused", "--most", "1")[0]
    assert entry["details"]["errors"].pop("more") == str(len(answer.json()["errors"]) - 16)
    assert all(len(name) <= 80 for name in entry["details"]["errors"])
    assert len(entry["details"]["client_certificate"]) == 64


@pytest.mark.parametrize("path", ["/timestamp/" + DIGEST, "/quotas/signatures"])
def test_slashes_and_options_are_taken_alike_everywhere(individual: Partner, path: str) -> None:
    base = str(individual.client.base_url).removesuffix("/v2/")
    for spelling in (f"/v2{path}/", f"//v2/{path}"):
        assert individual.client.get(base + spelling, headers=individual.authorization).status_code == 200
    assert individual.client.options(f"{base}/v2{path}").status_code == 204


def test_the_table_of_statuses_has_a_row_for_every_error() -> None:
    def leaves(kind: type[errors.IntaglioError]) -> list[type[errors.IntaglioError]]:
        # Refusals of one room alone, like a time-stamp's, have that room's own table.
        own = [sub for sub in kind.__subclasses__() if sub.__module__ == "intaglio.errors"]
        below = [leaf for sub in own for leaf in leaves(sub)]
        return below if kind in {errors.IntaglioError, errors.RequestRefused, errors.ServiceFault} else [kind, *below]

    for kind in leaves(errors.IntaglioError):
        assert problems.status_of(kind.__new__(kind, "")) in problems.TITLES


def test_body_without_length_is_411(individual: Partner, served: Served) -> None:
    with connected(served, individual.folder) as secure:
        secure.sendall(b"POST /v2/identity HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 411")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=UTF-8",
        "APPLICATION/JSON;CHARSET=utf-8",
        'application/json;charset="utf-8"',
    ],
)
def test_every_spelling_of_json_is_taken(individual: Partner, content_type: str) -> None:
    headers = {**individual.authorization, "Content-Type": content_type}
    assert individual.client.post("/identity", json=JOHN_DOE, headers=headers).status_code == 200


def test_body_of_a_get_is_ignored(individual: Partner) -> None:
    answer = individual.client.request("GET", f"/timestamp/{DIGEST}", json={}, headers=individual.authorization)
    assert answer.status_code == 200


def test_identity_of_another_account_is_not_found(individual: Partner, organization: Partner) -> None:
    identity = individual.post("/identity", JOHN_DOE).json()["id"]
    foreign = organization.get(f"/identity/{identity}/sign/{DIGEST}")
    unknown = organization.get(f"/identity/{'0' * 32}/sign/{DIGEST}")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["errors"] == unknown.json()["errors"]


def test_token_of_another_certificate_is_refused(individual: Partner, organization: Partner) -> None:
    answer = organization.client.get("/trustchain", headers=individual.authorization)
    assert (answer.status_code, list(answer.json()["errors"])) == (401, ["authorization"])


def test_without_or_with_a_foreign_client_certificate_there_is_no_answer(served: Served, tmp_path: Path) -> None:
    assert not answered(served, None)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "client.key", "-out",
        tmp_path / "client.crt", "-subj", "/CN=x", "-addext", "extendedKeyUsage=clientAuth")  # fmt: skip
    assert not answered(served, tmp_path)


def test_revocation_and_suspension_close_an_open_connection_within_a_second(served: Served, tmp_path: Path) -> None:
    partner = make_partner(served, tmp_path / "shortlived", "--kind", "individual")
    with closing(partner.client):
        assert partner.get("/quotas/signatures").status_code == 200
        served.intaglio("account", "suspend", partner.account_id)
        time.sleep(1)
        assert partner.get("/quotas/signatures").status_code == 403
        served.intaglio("account", "resume", partner.account_id)
        time.sleep(1)
        assert partner.get("/quotas/signatures").status_code == 200
        served.intaglio("credential", "revoke", partner.credential_id)
        time.sleep(1)
        answer = partner.get("/quotas/signatures")
        assert (answer.status_code, list(answer.json()["errors"])) == (401, ["client_certificate"])


def test_a_token_dies_with_its_credential_even_over_another_certificate(served: Served, tmp_path: Path) -> None:
    partner = make_partner(served, tmp_path / "two", "--kind", "individual")
    csr = partner.folder / "client.csr"
    options = ("--account", partner.account_id, "--csr", csr, "--out", tmp_path / "other")
    other = served.intaglio("credential", "create", *options)
    shown = served.intaglio("account", "show", partner.account_id)["credentials"]
    serial = next(one for one in shown if one["credential_id"] == other["credential_id"])["certificates"][0]["serial"]
    served.intaglio("certificate", "revoke", serial, "--issuer", "client")
    secret = json.loads((tmp_path / "other/credentials.json").read_text())
    with closing(partner.client):
        partner.secret = secret
        partner.login()
        assert partner.get("/quotas/signatures").status_code == 200
        served.intaglio("credential", "revoke", other["credential_id"])
        time.sleep(1)
        assert partner.get("/quotas/signatures").status_code == 401


def test_quota_used_up_is_final_and_exact(served: Served, tmp_path: Path) -> None:
    partner = make_partner(served, tmp_path / "poor", "--kind", "individual", "--quota-signatures", "2")
    with closing(partner.client):
        identity = partner.post("/identity", JOHN_DOE).json()["id"]
        statuses = [partner.get(f"/identity/{identity}/sign/{DIGEST}").status_code for _ in range(3)]
        assert statuses == [200, 200, 403]
        assert partner.get("/quotas/signatures").json() == {"value": 0}
        assert partner.get("/counters/signatures").json() == {"value": 2}


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v2/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /v2/login HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /v2/login HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_what_could_be_smuggled_is_refused_and_the_connection_closed(
    individual: Partner, served: Served, sent: bytes
) -> None:
    with connected(served, individual.folder) as secure:
        secure.sendall(sent)
        answer = b""
        while part := secure.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "half", [b"GET /v2/trust", b"POST /v2/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
def test_half_sent_request_is_closed_within_ten_seconds(individual: Partner, served: Served, half: bytes) -> None:
    with connected(served, individual.folder) as secure:
        began = time.monotonic()
        secure.sendall(half)
        while secure.recv(4096):
            pass
        assert 5 < time.monotonic() - began < 11


def test_logs_hold_no_secret(individual: Partner, served: Served) -> None:
    log = served.log.read_text()
    assert "POST /v2/login" in log
    for secret in (individual.token, individual.secret["api_secret"], "PRIVATE KEY"):
        assert secret not in log


def test_the_same_connection_with_its_own_certificate_is_answered(individual: Partner, served: Served) -> None:
    assert answered(served, individual.folder)  # the control of the test above


def test_old_tls_is_refused(served: Served) -> None:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"localhost:{served.api_port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        input=b"", capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert done.returncode != 0


def test_a_rate_limit_says_when_to_come_back_and_what_the_limit_is() -> None:
    scope = {"state": {"request_id": "r"}, "path": "/v2/timestamp/x"}
    answer = problems.of(errors.RateLimited("signatures", limit=10, window_seconds=1, retry_after_seconds=3), scope)
    headers = dict(answer.headers)
    assert (answer.status, headers[b"retry-after"]) == (429, b"3")
    assert (headers[b"ratelimit-policy"], headers[b"ratelimit"]) == (b'"signatures";q=10;w=1', b'"signatures";r=0;t=3')
    assert json.loads(answer.body)["errors"] == {
        "rate": "signatures: at most 10 at once, and so many again in 1 seconds"
    }


def test_an_account_suspended_while_its_request_comes_slowly_is_refused(served: Served, tmp_path: Path) -> None:
    partner = make_partner(served, tmp_path / "slow", "--kind", "individual", "--test")
    body = json.dumps(JOHN_DOE).encode()
    head = (
        f"POST /v2/identity HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {partner.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with connected(served, partner.folder) as secure:
        secure.sendall(head.encode() + body[:-1])
        time.sleep(0.3)
        served.intaglio("account", "suspend", partner.account_id)
        time.sleep(1.1)
        secure.sendall(body[-1:])
        assert secure.recv(1000).startswith(b"HTTP/1.1 403")
    partner.client.close()


def test_a_flood_of_refusals_is_counted_in_one_entry(served: Served, tmp_path: Path) -> None:
    partner = make_partner(served, tmp_path / "flooding", "--kind", "individual", "--test")
    flood = MOST_OF_ONE + 60
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: partner.get("/timestamp/nonsense").status_code, range(flood)))
    assert set(answers) == {422}
    wanted = ("--account", partner.account_id, "--kind", "request.refused", "--most", "1000")
    until = time.monotonic() + 25
    more: list[dict[str, Any]] = []
    while not more and time.monotonic() < until:
        time.sleep(0.5)
        more = [one for one in served.intaglio("ledger", "show", *wanted) if one["kind"] == "request.refused.more"]
    told = served.intaglio("ledger", "show", *wanted)
    assert more
    # A window may have ended while they came.
    assert sum(one.get("details", {}).get("count", 1) for one in told) == flood
    assert len(told) < flood
    assert more[0]["details"]["statuses"].keys() == {"422"}
    partner.client.close()
