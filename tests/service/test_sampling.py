"""pkilint on what was issued: what a request chose is recorded, what the profile brings about stops the profile."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from custody import beginning
from intaglio.accounts import credentials, onboarding
from intaglio.accounts.kinds import Kind
from intaglio.accounts.profiles import changes
from intaglio.accounts.profiles.register import every_stop
from intaglio.accounts.register import policy_document
from intaglio.accounts.sessions import Sessions
from intaglio.clock import ManualClock
from intaglio.database.engine import reading, transaction
from intaglio.errors import IssuanceRefused, RuleBroken
from intaglio.ledger.writer import latest
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import PACKAGED
from intaglio.service import sampling
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.service.initialisation import initialise
from intaglio.signing.identity import create_identity
from onboarded import RATES

CRITICAL = "etsi.en_319_412_2.gen-4.3.10-1.eku_extension_is_critical"
# What nobody would add after a trial: EN 319 412-2 §4.3.10 wants extendedKeyUsage not critical. Our own rules, which
# have to be fast, do not know of it.
WRONG = (
    PACKAGED["etsi-advanced-seal"].decode()
    .replace('"etsi-advanced-seal"', '"wrong-seal"')
    .replace("short_term = true", "short_term = true\nextended_key_usage_critical = true")
    .replace("disclosure = true", "")
)  # fmt: skip
SEAL = {"subject_dn": {"organization_identifier": "VATDE-123456789"}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    decided = beginning(algorithm="p-256", country="DE", public_url="http://pki.example.com")
    return initialise(tmp_path / "home", decided, datetime.now(UTC), lambda _: None)


def account(home: Home, profile: str | None = None) -> str:
    with transaction(home.engine) as connection:
        return onboarding.create_account(
            connection, home.chain, name="O", kind=Kind.ORGANIZATION, hierarchy=Hierarchy.TEST, organization="Example",
            country="DE", granted={}, now=datetime.now(UTC), profile=profile,
        ).id  # fmt: skip


def issue(home: Home, account_id: str, request: Any) -> x509.Certificate:
    now = datetime.now(UTC)
    with transaction(home.engine) as connection:
        credential, _ = credentials.create(connection, account_id, now)
    with reading(home.engine) as connection:
        caller = Sessions._caller(connection, credential, "0" * 64, now + timedelta(hours=1), RATES)

    async def walk() -> bytes:
        async with running(home) as service:
            return (await create_identity(service.engine, caller, request, "r")).certificate

    return x509.load_der_x509_certificate(asyncio.run(walk()))


def entries(home: Home, kind: str) -> list[dict[str, Any]]:
    with reading(home.engine) as connection:
        found = latest(connection, most=50, kind=kind)
    return [msgspec.json.decode(one.body)["details"] for one in found]


def stops(home: Home) -> list[tuple[str, str]]:
    with reading(home.engine) as connection:
        return [(one.name, one.rule) for one in every_stop(connection)]


def in_process(home: Home) -> None:
    now = datetime.now(UTC)
    sampling.look(home, now - timedelta(minutes=1), now)


def by_command(home: Home) -> None:
    # It gives way to everything else, so it takes its time where much else is done.
    command = [sys.executable, "-m", "intaglio.service.sampling", str(home.path), "60", "latest"]
    subprocess.run(command, timeout=150, check=True, capture_output=True)


@pytest.mark.parametrize("look", [in_process, by_command])
def test_a_profile_that_breaks_a_rule_is_stopped(home: Home, look: Callable[[Home], None]) -> None:
    with transaction(home.engine) as connection:
        changes.add_profile(connection, home.chain, WRONG, datetime.now(UTC))
    wrong, right = account(home, "wrong-seal"), account(home)
    certificate = issue(home, wrong, SEAL)
    issue(home, right, None)
    look(home)
    [found] = entries(home, "lint.found")
    serial = f"{certificate.serial_number:x}"
    assert (found["rule"], found["issuer"], found["reference"]) == (CRITICAL, "test-issuing", serial)
    assert stops(home) == [("wrong-seal", CRITICAL)]
    assert entries(home, "profile.stopped") == [{"name": "wrong-seal", "version": 1, "rule": CRITICAL}]
    with pytest.raises(IssuanceRefused, match="wrong-seal is stopped"):
        issue(home, wrong, SEAL)
    issue(home, right, None)


def test_what_a_request_chose_stops_nobody(home: Home) -> None:
    chosen = account(home)
    with transaction(home.engine) as connection:
        document, _ = policy_document(connection, chosen)
        uris = {"static": False, "list": [], "mincount": 0, "maxcount": 2}
        onboarding.set_policy(connection, home.chain, chosen, {**document, "san": {"uris": uris}}, datetime.now(UTC))
    certificate = issue(home, chosen, {"san": {"uris": ["http://intranet/me"]}})
    in_process(home)
    [found] = entries(home, "lint.found")
    assert (found["rule"], found["profile"]) == ("pkix.invalid_uri_syntax", "aatl-a-seal")
    assert found["reference"] == f"{certificate.serial_number:x}"
    assert stops(home) == []


def test_profiles_in_use_are_tried_after_a_start(home: Home) -> None:
    with transaction(home.engine) as connection:
        changes.add_profile(connection, home.chain, WRONG, datetime.now(UTC))
    account(home)
    assert sampling.look_at_profiles(home, datetime.now(UTC)) == []
    account(home, "wrong-seal")
    [stop] = sampling.look_at_profiles(home, datetime.now(UTC))
    assert (stop.name, stop.rule) == ("wrong-seal", CRITICAL)


def test_what_is_old_is_not_looked_at_again(home: Home) -> None:
    with transaction(home.engine) as connection:
        changes.add_profile(connection, home.chain, WRONG, datetime.now(UTC))
    issue(home, account(home, "wrong-seal"), SEAL)
    now = datetime.now(UTC) + timedelta(minutes=5)
    assert sampling.look(home, now - timedelta(minutes=1), now) == []


def test_what_our_own_rules_refuse_is_recorded_whatever_it_is(home: Home) -> None:
    """A responder that has ended, asked again and again, and a certificate that a command would make."""

    async def walk() -> None:
        clock = ManualClock(datetime.now(UTC) + timedelta(days=2200))
        async with running(home, clock) as service:
            for _ in range(3):
                with pytest.raises(RuleBroken):
                    await service.engine.answers.status("test-issuing", 1 << 100, clock.now())

    asyncio.run(walk())
    refused = [one for one in entries(home, "lint.refused") if one["issuer"] == "test-issuing"]
    assert [one["rule"] for one in refused] == ["ocsp.responder"]
    issuer = home.issuer("client")
    with pytest.raises(RuleBroken):
        issuer.prepare("client", subject=x509.Name([]), public_key=issuer.key.public_key(), now=datetime.now(UTC))
    [newest, *_] = entries(home, "lint.refused")
    assert (newest["rule"], newest["profile"], newest["issuer"]) == ("subject.empty", "client", "client")
