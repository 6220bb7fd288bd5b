"""Identities are made under the profile that their account has: an operator's own, qualified ones, stopped ones."""

import asyncio
from collections.abc import Awaitable, Callable
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
from intaglio.accounts.profiles.register import Stop
from intaglio.accounts.sessions import Caller, Sessions
from intaglio.clock import ManualClock
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused, IssuanceRefused, RuleBroken
from intaglio.ledger.writer import latest
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import PACKAGED
from intaglio.service.composition import Service, running
from intaglio.service.home import Home, open_home
from intaglio.service.initialisation import initialise
from intaglio.signing.identity import create_identity
from onboarded import RATES

START = datetime.now(UTC)
SEAL = {"subject_dn": {"organization_identifier": "VATDE-123456789"}}
OWN = PACKAGED["aatl-b-seal"].decode().replace('"aatl-b-seal"', '"own-seal"')


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = initialise(tmp_path / "home", beginning(algorithm="p-256", country="DE"), START, lambda _: None)
    made.close()
    settings = tmp_path / "home/intaglio.toml"
    settings.write_text(
        settings.read_text()
        + '\n[profiles]\ncps = "https://x.example/cps"\ndisclosures = { en = "https://x.example/pds" }\n'
    )
    return open_home(tmp_path / "home")


def account(home: Home, hierarchy: Hierarchy, profile: str | None = None) -> str:
    with transaction(home.engine) as connection:
        return onboarding.create_account(
            connection, home.chain, name="O", kind=Kind.ORGANIZATION, hierarchy=hierarchy, organization="Example GmbH",
            country="DE", granted={}, now=START, profile=profile,
        ).id  # fmt: skip


def caller(home: Home, account_id: str) -> Caller:
    """Return the caller as the service reads it anew after every administrative change."""
    with transaction(home.engine) as connection:
        credential, _ = credentials.create(connection, account_id, START)
    with reading(home.engine) as connection:
        return Sessions._caller(connection, credential, "0" * 64, START + timedelta(days=1), RATES)


def last(home: Home, kind: str) -> dict[str, Any]:
    with reading(home.engine) as connection:
        return dict(msgspec.json.decode(latest(connection, most=1, kind=kind)[0].body)["details"])


def serve(home: Home, walk: Callable[[Service, ManualClock], Awaitable[None]]) -> None:
    clock = ManualClock(START + timedelta(seconds=1))

    async def run() -> None:
        async with running(home, clock) as service:
            await walk(service, clock)

    asyncio.run(run())


async def made(service: Service, home: Home, account_id: str, request: Any = None) -> x509.Certificate:
    identity = await create_identity(service.engine, caller(home, account_id), request, "r")
    return x509.load_der_x509_certificate(identity.certificate)


def held(certificate: x509.Certificate) -> set[str]:
    return {one.oid.dotted_string for one in certificate.extensions}


NO_REVOCATION, QC_STATEMENTS = "2.5.29.56", "1.3.6.1.5.5.7.1.3"


def test_an_operators_own_profile_and_its_next_version(home: Home) -> None:
    chosen = account(home, Hierarchy.TEST)
    with transaction(home.engine) as connection:
        changes.add_profile(connection, home.chain, OWN, START)
        changes.choose_profile(connection, home.chain, chosen, "own-seal", START)

    async def walk(service: Service, _clock: ManualClock) -> None:
        assert NO_REVOCATION in held(await made(service, home, chosen))
        told = last(home, "identity.created")
        assert (told["profile"], told["profile_version"]) == ("own-seal", 1)
        following = OWN.replace("version = 1", "version = 2").replace("adobe_archive = true", "")
        with transaction(home.engine) as connection:
            changes.add_profile(connection, home.chain, following, START)
        certificate = await made(service, home, chosen)
        assert "1.2.840.113583.1.1.9.2" not in held(certificate)
        assert last(home, "identity.created")["profile_version"] == 2
        with transaction(home.engine) as connection:
            changes.choose_profile(connection, home.chain, chosen, None, START)
        assert NO_REVOCATION not in held(await made(service, home, chosen))

    serve(home, walk)
    assert last(home, "profile.added")["version"] == 2


def test_what_is_qualified_waits_for_accreditation_and_ends_with_it(home: Home) -> None:
    chosen = account(home, Hierarchy.PRODUCTION, "qualified-seal")
    tested = account(home, Hierarchy.TEST, "qualified-seal")
    until = START + timedelta(minutes=30)

    def accredit(issuer: str, *, device: bool = True) -> None:
        with transaction(home.engine) as connection:
            changes.record_accreditation(
                connection, home.chain, issuer=issuer, reference="Assessment 1", evidence_sha256="0" * 64,
                device=device, until=until, now=START,
            )  # fmt: skip

    async def refused(service: Service, account_id: str) -> None:
        with pytest.raises(RuleBroken) as error:
            await made(service, home, account_id, SEAL)
        assert error.value.rule == "qc.accreditation"
        assert last(home, "lint.refused")["rule"] == "qc.accreditation"

    async def walk(service: Service, clock: ManualClock) -> None:
        await refused(service, chosen)
        accredit("issuing", device=False)
        await refused(service, chosen)
        accredit("issuing")
        assert QC_STATEMENTS in held(await made(service, home, chosen, SEAL))
        # Whatever is recorded of a CA for tests.
        accredit("test-issuing")
        await refused(service, tested)
        with transaction(home.engine) as connection:
            changes.withdraw_accreditation(connection, home.chain, "issuing", "over", START)
        await refused(service, chosen)
        accredit("issuing")
        clock.advance(timedelta(minutes=31))
        await refused(service, chosen)

    serve(home, walk)


def test_a_name_that_the_profile_does_not_allow_is_the_requests_fault(home: Home) -> None:
    chosen = account(home, Hierarchy.TEST, "etsi-advanced-seal")

    async def walk(service: Service, _clock: ManualClock) -> None:
        for sent in (None, {"subject_dn": {"organization_identifier": "123"}}):
            with pytest.raises(ContentRefused) as error:
                await made(service, home, chosen, sent)
            assert set(error.value.fields) == {"subject_dn.organization_identifier"}
        assert QC_STATEMENTS in held(await made(service, home, chosen, SEAL))

    serve(home, walk)


def test_a_stopped_profile_issues_nothing_until_it_is_resumed(home: Home) -> None:
    chosen = account(home, Hierarchy.TEST)

    async def walk(service: Service, _clock: ManualClock) -> None:
        with transaction(home.engine) as connection:
            assert changes.stop_profile(connection, home.chain, Stop("aatl-a-seal", 1, "pkix.some_rule", START))
            assert not changes.stop_profile(connection, home.chain, Stop("aatl-a-seal", 1, "pkix.other", START))
        with pytest.raises(IssuanceRefused, match=r"aatl-a-seal is stopped: it breaks pkix\.some_rule"):
            await made(service, home, chosen)
        with transaction(home.engine) as connection:
            changes.resume_profile(connection, home.chain, "aatl-a-seal", START)
            with pytest.raises(Conflict):
                changes.resume_profile(connection, home.chain, "aatl-a-seal", START)
        await made(service, home, chosen)

    serve(home, walk)


def test_what_does_not_fit_is_not_chosen_or_added(home: Home) -> None:
    chosen = account(home, Hierarchy.TEST)
    with transaction(home.engine) as connection:
        for profile in ("aatl-a-person", "qualified-person"):
            with pytest.raises(ContentRefused, match="cannot be chosen"):
                changes.choose_profile(connection, home.chain, chosen, profile, START)
        with pytest.raises(Conflict):
            changes.add_profile(connection, home.chain, OWN.replace("version = 1", "version = 2"), START)
        changes.add_profile(connection, home.chain, OWN, START)
        with pytest.raises(Conflict):
            changes.add_profile(connection, home.chain, OWN, START)
        changes.choose_profile(connection, home.chain, chosen, "own-seal", START)
        usages = {"key_usages": {"digital_signature": "STATIC_TRUE", "content_commitment": "OPTIONAL"}}
        document = {"subject_dn": {"common_name": {"presence": "STATIC", "format": "O"}}, **usages}
        onboarding.set_policy(connection, home.chain, chosen, document, START)
        narrower = OWN.replace("version = 1", "version = 2").replace(
            'key_usage_allowed = ["digital_signature", "content_commitment"]',
            'key_usage_allowed = ["digital_signature"]',
        )
        with pytest.raises(Conflict) as error:
            changes.add_profile(connection, home.chain, narrower, START)
        assert set(error.value.fields) == {chosen}
