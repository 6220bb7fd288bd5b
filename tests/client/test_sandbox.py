"""The sandbox from a program, and a contract that a test account signed tomorrow, judged as of then."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from intaglio_client import Client, Retries, errors
from served import BIN, JOHN_DOE, Partner, Served, make_partner, run

CONTRACT = Path(__file__).parents[2] / "examples/contract/contract.pdf"


@pytest.fixture
def partner(served: Served, tmp_path: Path) -> Iterator[Partner]:
    made = make_partner(served, tmp_path / "program", "--kind", "individual", "--test")
    yield made
    made.client.close()


def client(partner: Partner) -> Client:
    return Client(
        partner.served.url.removesuffix("/v2"),
        api_key=partner.secret["api_key"],
        api_secret=partner.secret["api_secret"],
        client_cert=partner.folder / "client.crt",
        client_key=partner.folder / "client.key",
        server_ca=partner.served.home / "tls/server-ca.crt",
        retries=Retries(attempts=2),
    )


def test_a_program_meets_what_it_should_be_ready_for(partner: Partner) -> None:
    digest = bytes(32)
    with client(partner) as signing:
        old = signing.identity(JOHN_DOE)
        assert signing.identity(JOHN_DOE).id == old.id
        moved = signing.advance_clock(600)
        assert moved.account_time - moved.real_time == timedelta(minutes=10)
        with pytest.raises(errors.NotFound):
            signing.sign(old, digest)
        new = signing.identity(JOHN_DOE)
        assert new.id != old.id
        # a token that ends is fetched anew without a word
        signing.advance_clock(1800)
        assert signing.quota("signatures") > 0
        new = signing.identity(JOHN_DOE)
        signing.force_failures({"rate_limited": 1})
        signing.sign(new, digest)  # the client waits as it is told to, and comes again
        signing.force_failures({"rate_limited": 2})
        with pytest.raises(errors.RateLimited) as limited:
            signing.sign(new, digest)
        assert limited.value.retry_after == 1
        assert signing.force_failures({"quota_used_up": None}).failures[0].remaining is None
        with pytest.raises(errors.Forbidden):
            signing.timestamp(digest)
        signing.force_failures({"key_store_away": 2})
        with pytest.raises(errors.ServiceFault):
            signing.timestamp(digest)
        back = signing.reset_sandbox()
        assert (back.ahead_seconds, back.failures) == (0, ())
        with pytest.raises(errors.NotFound):
            signing.sign(new, digest)
        assert signing.sandbox().ahead_seconds == 0


def test_a_contract_signed_tomorrow_is_valid_from_tomorrow(partner: Partner, served: Served, tmp_path: Path) -> None:
    with client(partner) as signing:
        signing.advance_clock(86_400)
    signed = tmp_path / "signed.pdf"
    run(
        "faketime", "+1 day", BIN / "intaglio-client", "sign", CONTRACT, signed, "--cn", "John Doe", "--country", "GB",
        "--level", "B-LTA", "--base-url", f"https://localhost:{served.api_port}", "--credentials",
        partner.folder / "credentials.json", "--client-cert", partner.folder / "client.crt", "--client-key",
        partner.folder / "client.key", "--server-ca", served.home / "tls/server-ca.crt",
    )  # fmt: skip
    judge = (BIN / "intaglio-client", "verify", signed, "--trust", served.home / "pki/test-root.crt", "--json")
    for later in ("+1 day", "+2 days", "+100 days"):
        assert '"VALID"' in run("faketime", later, *judge).stdout.decode(), later
    # the control: today it is not signed yet
    assert '"VALID"' not in run(*judge, check=False).stdout.decode()


def test_the_operator_s_commands_do_the_same(partner: Partner, served: Served) -> None:
    account = partner.account_id
    assert served.intaglio("sandbox", "advance", account, "60")["ahead_seconds"] == 60
    found = served.intaglio("sandbox", "fail", account, "rate_limited=2", "ocsp_unknown")["failures"]
    assert {one["failure"]: one["remaining"] for one in found} == {"rate_limited": 2, "ocsp_unknown": None}
    assert served.intaglio("sandbox", "show", account)["failures"] == found
    reset = served.intaglio("sandbox", "reset", account)
    assert (reset["ahead_seconds"], reset["failures"]) == (0, [])
    for wrong in (("advance", account, "0"), ("fail", account, "rate_limited=x"), ("fail", account, "gremlins")):
        assert run(BIN / "intaglio", "sandbox", *wrong, "--home", served.home, check=False).returncode == 1


def test_the_operator_s_commands_find_no_account_of_production(individual: Partner, served: Served) -> None:
    done = run(BIN / "intaglio", "sandbox", "advance", individual.account_id, "60", "--home", served.home, check=False)
    assert (done.returncode, b"Only test accounts have a sandbox." in done.stderr) == (1, True)
