"""People are certified on the strength of a login to a real provider of OpenID Connect; of nothing less."""

import base64
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from custody import init_options
from intaglio_client import Client, binding_nonce
from openid import Provider, provider
from served import Partner, Served, approved_mechanism, free_port, make_partner

EMPLOYEE = ("--kind", "employee", "--organization", "Example Ltd", "--country", "GB")
ADA = {"subject_dn": {"common_name": "Ada Lovelace", "email": "ada@example.com"}}


@pytest.fixture(scope="module")
def openid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("openid") / "provider") as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, openid: Provider) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("proof") / "home", free_port(), free_port())
    ports = ("--api-port", str(served.api_port), "--pki-port", str(served.pki_port))
    served.intaglio("init", *ports, "--algorithm", "p-256", *init_options())
    with (served.home / "intaglio.toml").open("a") as settings:
        settings.write(f'\n[verification]\nca_file = "{openid.certificate}"\n')
    served.start()
    yield served
    assert served.stop() == 0


def rule(openid: Provider, **other: Any) -> dict[str, Any]:
    return {
        "issuer": openid.issuer,
        "audience": "intaglio",
        "jwks_uri": f"{openid.url}/.well-known/jwks.json",
        "claims": {"subject_dn.common_name": "name", "subject_dn.email": "email"},
        "expected": {"email_verified": True},
        **other,
    }


@pytest.fixture(scope="module")
def employee(service: Served, openid: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    folder = tmp_path_factory.mktemp("proven")
    (folder / "rule.json").write_text(json.dumps(rule(openid)))
    partner = make_partner(service, folder / "employee", *EMPLOYEE, mechanism=("--rule", folder / "rule.json"))
    yield partner
    partner.client.close()


def body(request: Any) -> bytes:
    return json.dumps(request).encode()


def bound(request: Any) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body(request)).digest()).rstrip(b"=").decode()


def ask(partner: Partner, request: Any, token: str | None, **headers: str) -> httpx.Response:
    sent = {**partner.authorization, "Content-Type": "application/json;charset=utf-8", **headers}
    if token is not None:
        sent["Identity-Token"] = token
    return partner.client.post("/identity", content=body(request), headers=sent)


def last(served: Served, partner: Partner) -> Any:
    return served.intaglio("ledger", "show", "--account", partner.account_id, "--most", "1")[0]


def refusal(partner: Partner, request: Any, token: str | None) -> str:
    """Return why a request is refused, which is what its entry says."""
    answer = ask(partner, request, token)
    assert answer.status_code == 403, answer.text
    entry = last(partner.served, partner)
    assert entry["kind"] == "request.refused"
    assert entry["details"]["errors"] == answer.json()["errors"]
    return str(answer.json()["errors"]["identity_token"])


def test_an_employee_is_certified_on_the_strength_of_a_login(
    service: Served, employee: Partner, openid: Provider
) -> None:
    token = openid.login(bound(ADA))
    answer = ask(employee, ADA, token)
    assert answer.status_code == 200, answer.text
    certificate = x509.load_pem_x509_certificate(answer.json()["signing_cert"].encode())
    assert "CN=Ada Lovelace" in certificate.subject.rfc4514_string()
    found = last(service, employee)["details"]["verification"]
    assert (found["depth"], found["issuer"]) == ("proven", openid.issuer)
    assert found["token_sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert found["mapping"] == {"subject_dn.common_name": "name", "subject_dn.email": "email"}
    assert "Ada" not in json.dumps(found)
    # and a second time, for the same person: with a login of its own
    assert refusal(employee, ADA, token) == "was used before"
    assert ask(employee, ADA, openid.login(bound(ADA))).status_code == 200
    assert token not in service.log.read_text()


def test_evidence_is_shown_to_who_may_and_erased_and_the_ledger_holds(
    service: Served, employee: Partner, openid: Provider
) -> None:
    token = openid.login(bound(ADA))
    identity = ask(employee, ADA, token).json()["id"]
    staff = service.staffed()
    assert staff.intaglio("evidence", "show", identity, who="otto", ok=False).keys() == {"role"}
    shown = staff.intaglio("evidence", "show", identity, who="vera")
    assert (shown["token"], shown["claims"]["name"]) == (token, "Ada Lovelace")
    chain, _, sequence = shown["entry"].partition("#")
    entries = service.intaglio("ledger", "show", "--kind", "identity.created")
    entry = next(one for one in entries if (one["chain"], one["sequence"]) == (chain, int(sequence)))
    assert entry["reference"] == identity
    database = service.home / "intaglio.db"
    with closing(sqlite3.connect(database)) as connection:
        sealed, salt = connection.execute(
            "select sealed, salt from identity_evidence where identity_id = ?", [identity]
        ).fetchone()
    assert b"Ada" not in sealed
    # Anybody with token and salt sees what the ledger committed to.
    committed = entry["details"]["verification"]["evidence"]
    assert hashlib.sha256(salt + token.encode()).hexdigest() == committed
    why = ("--reason", "asked for by the person")
    staff.intaglio("evidence", "erase", identity, *why, who="vera")
    assert staff.intaglio("evidence", "erase", identity, *why, who="vera", ok=False).keys() == {"evidence"}
    assert staff.intaglio("evidence", "show", identity, who="vera", ok=False).keys() == {"evidence"}
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute(
            "select sealed, salt from identity_evidence where identity_id = ?", [identity]
        ).fetchone()
        assert row == (None, None)
    assert salt not in database.read_bytes()
    assert sealed not in database.read_bytes()
    assert service.intaglio("ledger", "verify")["entries"]
    kinds = [one["kind"] for one in service.intaglio("ledger", "show", "--kind", "evidence")]
    assert kinds == ["evidence.shown", "evidence.erased"]


def test_evidence_is_erased_when_its_time_is_over_and_another_ones_in_its_place_is_found(
    service: Served, employee: Partner, openid: Provider
) -> None:
    one, two = (ask(employee, ADA, openid.login(bound(ADA))).json()["id"] for _ in range(2))
    staff = service.staffed()
    with closing(sqlite3.connect(service.home / "intaglio.db")) as connection:
        found = connection.execute("select sealed, salt from identity_evidence where identity_id = ?", [one]).fetchone()
        connection.execute("update identity_evidence set sealed = ?, salt = ? where identity_id = ?", [*found, two])
        connection.commit()
    assert staff.intaglio("evidence", "show", one, who="vera")["claims"]["name"] == "Ada Lovelace"
    staff.intaglio("evidence", "show", two, who="vera", ok=False)
    with closing(sqlite3.connect(service.home / "intaglio.db")) as connection:
        connection.execute("update identity_evidence set erase_at = 0 where identity_id = ?", [one])
        connection.commit()
    for _ in range(100):
        erased = service.intaglio("ledger", "show", "--kind", "evidence.erased")
        if erased[-1]["reference"] == one:
            break
        time.sleep(0.2)
    assert (erased[-1]["reference"], erased[-1]["details"]) == (one, {"reason": "retention"})
    assert service.intaglio("ledger", "verify")["entries"]


def test_the_client_library_sends_references_and_tokens(
    service: Served, employee: Partner, openid: Provider, tmp_path: Path
) -> None:
    connection: dict[str, Any] = {
        **employee.secret,
        "client_cert": employee.folder / "client.crt",
        "client_key": employee.folder / "client.key",
        "server_ca": service.home / "tls/server-ca.crt",
    }
    with Client(service.url.removesuffix("/v2"), **connection) as client:
        made = client.identity(ADA, token=openid.login(binding_nonce(ADA)))
        assert client.identity(ADA).id == made.id
    (tmp_path / "rule.json").write_text(json.dumps(rule(openid, binding="nonce")))
    partner = make_partner(service, tmp_path / "sdk", *EMPLOYEE, "--test")
    mechanism = approved_mechanism(service, partner.account_id, "--rule", tmp_path / "rule.json")
    keys = {"client_cert": partner.folder / "client.crt", "client_key": partner.folder / "client.key"}
    with Client(service.url.removesuffix("/v2"), **{**connection, **partner.secret, **keys}) as client:
        token = openid.login(client.identity_nonce())
        client.identity(ADA, mechanism=mechanism, reference='case "7"', token=token)
    assert last(service, partner)["details"]["verification"]["reference"] == 'case "7"'
    partner.client.close()


def test_tokens_that_prove_nothing_are_refused_each_with_its_reason(
    employee: Partner, openid: Provider, tmp_path: Path
) -> None:
    nonce = bound(ADA)
    assert "another audience" in refusal(employee, ADA, openid.login(nonce, client="another"))
    assert "another request" in refusal(employee, {"subject_dn": {"common_name": "Ada Lovelace"}}, openid.login(nonce))
    assert "not as approved" in refusal(employee, ADA, openid.login(nonce, who="bob"))
    assert refusal(employee, ADA, None) == "needs an identity token"
    good = openid.login(nonce)
    head, claims, signature = good.split(".")
    assert "signature" in refusal(employee, ADA, f"{head}.{claims}.{signature[:-8]}AAAAAAAA")
    with provider(tmp_path / "stranger") as stranger:
        assert "another issuer" in refusal(employee, ADA, stranger.login(nonce))
    with provider(tmp_path / "hasty", like=openid, seconds=1) as hasty:
        token = hasty.login(nonce)
        time.sleep(1.1)
        assert refusal(employee, ADA, token) == "has expired"
    # the control: the token whose signature was changed serves as it was
    assert ask(employee, ADA, good).status_code == 200


def test_what_the_token_does_not_say_is_not_certified(employee: Partner, openid: Provider) -> None:
    eve = {"subject_dn": {"common_name": "Eve", "email": "ada@example.com", "surname": "X"}}
    answer = ask(employee, eve, openid.login(bound(eve)))
    assert answer.status_code == 422
    assert answer.json()["errors"] == {
        "subject_dn.common_name": "is not what the identity token says in name",
        "subject_dn.surname": "is not proven: the mechanism's rule maps no claim to it",
    }
    zoe = {"subject_dn": {"common_name": "Zoë Example"}}
    assert ask(employee, zoe, openid.login(bound(zoe), who="zoe")).status_code == 200


def test_a_nonce_can_be_fetched_first(service: Served, openid: Provider, tmp_path: Path) -> None:
    (tmp_path / "rule.json").write_text(json.dumps(rule(openid, binding="nonce")))
    partner = make_partner(service, tmp_path / "fetching", *EMPLOYEE, "--test")
    mechanism = approved_mechanism(service, partner.account_id, "--rule", tmp_path / "rule.json")
    assert partner.post("/identity", ADA).status_code == 200, "a test account needs none"
    fetched = partner.get("/identity/nonce").json()
    assert fetched["expires_in"] == 600
    token = openid.login(fetched["nonce"])
    named = {"Identity-Verification": mechanism}
    assert ask(partner, ADA, token, **named).status_code == 200
    assert ask(partner, ADA, token, **named).json()["errors"] == {"identity_token": "was used before"}
    # Another token for the same nonce is no other login.
    assert ask(partner, ADA, openid.login(fetched["nonce"])).json()["errors"] == {"identity_token": "was used before"}
    assert "not fetched here" in ask(partner, ADA, openid.login("of my own")).json()["errors"]["identity_token"]
    partner.client.close()


def test_a_rule_is_checked_when_it_is_applied_for(service: Served, employee: Partner, openid: Provider) -> None:
    wrong = rule(
        openid,
        jwks_uri="http://127.0.0.1:1/jwks",
        claims={"subject_dn.organization": "org", "subject_dn.nickname": "nickname", "subject_dn.common_name": "name"},
        vouched=["subject_dn.common_name"],
    )
    path = employee.folder / "wrong.json"
    path.write_text(json.dumps(wrong))
    said = ("--type", "e-id", "--provider", "P", "--description", "D", "--evidence", path, "--rule", path)
    staff = service.staffed()
    refused = staff.intaglio("mechanism", "apply", employee.account_id, *said, who="otto", ok=False)
    assert refused.keys() == {
        "rule.jwks_uri", "rule.claims.subject_dn.organization", "rule.claims.subject_dn.nickname", "rule.vouched[0]",
    }  # fmt: skip
    for field, value in (("algorithms", ["HS256"]), ("algorithms", ["none"]), ("age_seconds", 86400), ("more", 1)):
        path.write_text(json.dumps(rule(openid, **{field: value})))
        refused = staff.intaglio("mechanism", "apply", employee.account_id, *said, who="otto", ok=False)
        assert refused.keys() == {"rule"}


def test_of_many_requests_with_one_token_one_is_answered(employee: Partner, openid: Provider) -> None:
    token = openid.login(bound(ADA))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(employee, ADA, token), range(24)))
    assert [one.status_code for one in answers].count(200) == 1
    reasons = {str(one.json()["errors"]) for one in answers if one.status_code != 200}
    assert reasons == {"{'identity_token': 'was used before'}"}
