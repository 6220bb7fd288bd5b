"""Commits shared by concurrent requests: durable, exact, and no request harms its neighbours."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, select, text, update

from intaglio.accounts import credentials, quota, register
from intaglio.accounts.kinds import Kind, starting_policy
from intaglio.accounts.own_rates import account_rates
from intaglio.accounts.profiles.accreditation import accreditations
from intaglio.accounts.profiles.register import profiles, stops
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Limits, rate
from intaglio.accounts.sandbox import forced_failures, sandboxes
from intaglio.accounts.verification.evidence import identity_evidence
from intaglio.accounts.verification.once import used_tokens
from intaglio.accounts.verification.register import mechanisms
from intaglio.database.commits import Commits
from intaglio.database.engine import migrate, open_engine, reading, transaction
from intaglio.database.schema import metadata, revision
from intaglio.errors import QuotaSpent, StoreUnavailable
from intaglio.keys.register import epochs, identity_keys
from intaglio.ledger import stamps, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.verify import verify
from intaglio.ledger.writer import Chain, ledger, recorded
from intaglio.pki.hierarchy import Hierarchy
from intaglio.revocation import archive
from intaglio.revocation.register import certificates, revocation_lists
from intaglio.signing.engine import Spending, Spent
from intaglio.signing.register import identities
from intaglio.signing.stamps import Stamps, stampers
from intaglio.staff.approvals import approvals
from intaglio.staff.register import staff, staff_certificates

NOW = datetime(2026, 11, 24, tzinfo=UTC)
# Every register hangs its tables on the metadata when it is imported.
TABLES = (
    register.accounts,
    register.policies,
    quota.quotas,
    account_rates,
    credentials.credentials,
    credentials.client_certificates,
    certificates,
    revocation_lists,
    archive.blocks,
    epochs,
    identity_keys,
    identities,
    stampers,
    mechanisms,
    sandboxes,
    forced_failures,
    profiles,
    stops,
    accreditations,
    staff,
    used_tokens,
    identity_evidence,
    staff_certificates,
    approvals,
    ledger,
    stamps.stamps,
    tree.heads,
    tree.leaves,
    tree.tiles,
    revision,
)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = open_engine(f"sqlite:///{tmp_path / 'test.db'}", new=True)
    with transaction(made) as connection:
        migrate(connection)
    with transaction(made) as connection:
        account = register.Account("a", "A", Kind.INDIVIDUAL, Hierarchy.TEST, None, None, register.State.ACTIVE, NOW)
        register.add(connection, account, starting_policy(Kind.INDIVIDUAL, None, None), "test")
        quota.open_quotas(connection, "a", {Resource.SIGNATURES: 100})
    return made


@asynccontextmanager
async def lanes(engine: Engine) -> AsyncIterator[Commits]:
    commits = Commits(engine, most_waiting=500)
    commits.start()
    try:
        yield commits
    finally:
        await commits.stop()
        engine.dispose()


def spent(number: int) -> Spent:
    event = Event(NOW, "signature.made", "a", "i", f"{number}", {"number": number})
    return Spent(Resource.SIGNATURES, "a", event, rate(1000, 1000))


def count(engine: Engine) -> tuple[int, int]:
    with reading(engine) as connection:
        return quota.read(connection, "a", Resource.SIGNATURES).spent, verify(recorded(connection)).entries


def test_migrations_make_what_the_registers_expect(engine: Engine) -> None:
    assert len(metadata.tables) == len(TABLES)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        found = [change for change in compare_metadata(context, metadata) if "alembic_version" not in str(change)]
    engine.dispose()
    assert found == []


def test_sqlite_is_durable_and_forgets_destroyed_keys(engine: Engine) -> None:
    with reading(engine) as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA secure_delete")).scalar_one() == 1
    engine.dispose()


def test_quota_of_100_under_400_concurrent_requests_is_exactly_100(engine: Engine) -> None:
    async def race() -> list[object]:
        async with lanes(engine) as commits:
            spending = Spending(Chain("test"), Limits(), Stamps(timedelta(seconds=1)))
            asked = [commits.together(spending.spend, spent(number)) for number in range(400)]
            return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = asyncio.run(race())
    assert sum(outcome is None for outcome in outcomes) == 100
    assert sum(isinstance(outcome, QuotaSpent) for outcome in outcomes) == 300
    assert count(engine) == (100, 100)


def test_control_read_then_write_overspends(engine: Engine) -> None:
    """The control of the test above: without the comparison in the update, the quota does not hold."""

    async def race() -> None:
        async with lanes(engine) as commits:

            async def careless() -> None:
                found = await commits.read(lambda c: quota.read(c, "a", Resource.SIGNATURES))
                if found.left:
                    add = update(quota.quotas).where(quota.quotas.c.resource == "signatures")
                    await commits.write(lambda c: c.execute(add.values(spent=quota.quotas.c.spent + 1)))

            await asyncio.gather(*(careless() for _ in range(400)))

    asyncio.run(race())
    with reading(engine) as connection:
        assert connection.execute(select(quota.quotas.c.spent).where(quota.quotas.c.spent > 100)).scalar() is not None
    engine.dispose()


def test_one_failing_insert_does_not_harm_its_neighbours(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE INSERT ON ledger WHEN NEW.request_id = '13' "
                "BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        )

    async def race() -> list[object]:
        async with lanes(engine) as commits:
            spending = Spending(Chain("test"), Limits(), Stamps(timedelta(seconds=1)))
            asked = [commits.together(spending.spend, spent(number)) for number in range(40)]
            return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = asyncio.run(race())
    failed = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert failed == [13]
    assert isinstance(outcomes[13], StoreUnavailable)
    assert count(engine) == (39, 39)


def test_an_unexpected_error_of_one_piece_of_work_is_its_own(engine: Engine) -> None:
    def broken(_connection: Connection) -> None:
        raise ValueError

    async def race() -> list[object]:
        async with lanes(engine) as commits:
            asked = [commits.write(broken if number == 3 else (lambda _: None)) for number in range(8)]
            return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = asyncio.run(race())
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 3 + [ValueError] + [type(None)] * 4


def test_a_database_that_does_not_begin_refuses_all_at_once_and_recovers(engine: Engine) -> None:
    async def race() -> tuple[list[object], float]:
        async with lanes(engine) as commits:
            holder = engine.connect()
            holder.execute(text("SELECT 1"))  # begins, and takes the only lock
            began = time.monotonic()
            spending = Spending(Chain("test"), Limits(), Stamps(timedelta(seconds=1)))
            asked = [commits.together(spending.spend, spent(number)) for number in range(12)]
            outcomes: list[object] = list(await asyncio.gather(*asked, return_exceptions=True))
            took = time.monotonic() - began
            holder.close()
            await commits.together(spending.spend, spent(12))
            return outcomes, took

    outcomes, took = asyncio.run(race())
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    # one busy timeout for those that were taken together, one for those that came while it ran
    assert took < 12
    assert count(engine) == (1, 1)


def test_after_the_end_writes_are_refused_not_kept_waiting(engine: Engine) -> None:
    async def late() -> None:
        async with lanes(engine) as commits:
            pass
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(commits.write(lambda _: None), 1)

    asyncio.run(late())


def test_too_many_waiting_writes_are_refused_not_queued(engine: Engine) -> None:
    async def flood() -> list[object]:
        async with lanes(engine) as commits:
            asked = [commits.together(_nothing, number) for number in range(700)]
            return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = asyncio.run(flood())
    assert sum(isinstance(outcome, StoreUnavailable) for outcome in outcomes) == 200


def _nothing(_connection: Connection, numbers: Sequence[int]) -> list[int]:
    return list(numbers)


def test_what_comes_while_another_process_writes_shares_the_next_commit(engine: Engine) -> None:
    shared: list[int] = []

    def together(_connection: Connection, numbers: Sequence[int]) -> list[int]:
        shared.append(len(numbers))
        return list(numbers)

    async def walk() -> None:
        async with lanes(engine) as commits:
            with engine.begin():  # another's turn
                asked = [asyncio.create_task(commits.together(together, 0))]
                await asyncio.sleep(0.1)
                asked += [asyncio.create_task(commits.together(together, number)) for number in range(1, 21)]
                await asyncio.sleep(0.1)
                assert shared == []
            assert await asyncio.gather(*asked) == list(range(21))

    asyncio.run(walk())
    assert shared == [21]
