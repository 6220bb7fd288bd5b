"""Certificates that ended long ago: only their serial numbers are left, and each is answered for as before."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, select

from cases import cases
from commands import run
from custody import beginning
from intaglio.clock import ManualClock
from intaglio.database.commits import Commits
from intaglio.database.engine import migrate, open_engine, reading, transaction
from intaglio.database.schema import revision
from intaglio.errors import StoreUnavailable
from intaglio.ledger.writer import Chain, bodies
from intaglio.pki.issuer import drawn_from, new_serials
from intaglio.revocation import archive, archiving, register
from intaglio.revocation.archive import Archived
from intaglio.revocation.register import ARCHIVED, State, certificates, serial_text
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.service.initialisation import initialise
from intaglio.signing.biography import biography
from intaglio.signing.identity import create_identity
from onboarded import caller
from postgres import Server
from served import JOHN_DOE

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=500)
# Each example has one of its own.
ISSUERS = itertools.count()
BEFORE = BEGAN + timedelta(days=50)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = opened(f"sqlite:///{tmp_path / 'archive.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def server() -> Iterator[Engine]:
    made = Server()
    engine = opened(made.new_database())
    yield engine
    engine.dispose()
    made.end()


def opened(url: str) -> Engine:
    engine = open_engine(url, new=True, lasting=True)
    with transaction(engine) as connection:
        migrate(connection)
    return engine


def rows(moments: list[int], chance: random.Random) -> dict[str, Archived]:
    """Return one serial number for each moment, in milliseconds, as the issuer draws them."""
    found = {}
    for moment in moments:
        at = BEGAN + timedelta(milliseconds=moment)
        serial = drawn_from(at) | chance.getrandbits(110)
        found[serial_text(serial)] = Archived(
            serial_text(serial), chance.random() < 0.2, at, at + timedelta(minutes=10)
        )
    return found


@settings(max_examples=cases(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.integers(0, 3_000), min_size=1, max_size=20), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_archive_is_a_set(store: Engine, shares: list[list[int]], chance: random.Random) -> None:
    model: dict[str, Archived] = {}
    issuer = f"ca{next(ISSUERS)}"
    with pytest.MonkeyPatch.context() as patched, transaction(store) as connection:
        patched.setattr(archive, "MOST_IN_BLOCK", 8)
        for share in shares:
            # Chance may repeat itself here; the register's key sees to it that no number comes twice.
            new = {serial: one for serial, one in rows(share, chance).items() if serial not in model}
            again = dict(chance.sample(sorted(model.items()), min(3, len(model))))
            archive.put(connection, issuer, [*new.values(), *again.values()])
            model |= new
            for gone in chance.sample(sorted(model), min(2, len(model))):
                archive.take(connection, issuer, gone)
                del model[gone]
        for serial, one in model.items():
            known = archive.find(connection, issuer, serial)
            assert known is not None
            assert (known.planned, known.begins <= one.begins, one.ends <= known.ends) == (one.planned, True, True)
            # Its neighbours were never drawn, and nobody else's is.
            for beside in int(serial, 16) - 1, int(serial, 16) + 1:
                assert archive.find(connection, issuer, serial_text(beside)) is None
            assert archive.find(connection, "another", serial) is None
            assert archive.among(connection, issuer, [serial_text(int(serial, 16) - 1), serial]) == serial
        found = connection.execute(select(archive.blocks).where(archive.blocks.c.issuer == issuer)).all()
    sizes = [(len(row.issued) + len(row.planned)) // row.width for row in found]
    assert sum(sizes) == len(model)
    assert max(sizes, default=0) <= 8
    for block, after in itertools.pairwise(found):
        assert block.first <= block.last < after.first


def planned(store: Engine, number: int, at: datetime) -> list[str]:
    serials = new_serials(at, number)
    with transaction(store) as connection:
        register.reserve(connection, "issuing", serials, at)
    return [serial_text(serial) for serial in serials]


def kept(connection: Connection) -> int:
    rows = connection.execute(select(archive.blocks)).all()
    return sum((len(row.issued) + len(row.planned)) // row.width for row in rows)


def archived(store: Engine, before: datetime) -> int:
    async def walk() -> int:
        commits = Commits(store)
        commits.start()
        try:
            return await archiving.archive_ended(commits, Chain("test"), ["issuing"], before, BEFORE)
        finally:
            await commits.stop()

    return asyncio.run(walk())


@pytest.mark.parametrize("where", ["store", "server"])
def test_no_number_is_lost_on_the_way_and_what_is_not_over_stays(
    where: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = request.getfixturevalue(where)
    monkeypatch.setattr(archiving, "_MOST_TOGETHER", 16)
    monkeypatch.setattr(archive, "MOST_IN_BLOCK", 16)
    old = planned(store, 100, BEGAN)
    young = planned(store, 10, BEFORE + timedelta(seconds=1))
    # A write that fails in the middle leaves all where it was.
    put = archive.put

    def failing(connection: Connection, issuer: str, new: list[Archived]) -> None:
        put(connection, issuer, new)
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "put", failing)
        with pytest.raises(StoreUnavailable):
            archived(store, BEFORE)
    with reading(store) as connection:
        assert kept(connection) == 0
        assert connection.execute(select(func.count()).select_from(certificates)).scalar_one() == 110
        assert connection.execute(select(revision.c.oldest)).scalar_one() == "0012"
    assert archived(store, BEFORE) == 100
    assert archived(store, BEFORE) == 0
    with reading(store) as connection:
        assert kept(connection) == 100
        assert connection.execute(select(revision.c.oldest)).scalar_one() == "0017"
        assert (
            connection.execute(select(certificates.c.serial).order_by(certificates.c.serial)).scalars().all() == young
        )
        assert all(register.find(connection, "issuing", serial) is not None for serial in (*old, *young))
        assert sum(told.details["number"] for told in bodies(connection, "certificates.archived")) == 100


def test_a_number_that_is_archived_is_not_drawn_again(store: Engine) -> None:
    (serial,) = planned(store, 1, BEGAN)
    archived(store, BEFORE)
    with pytest.raises(StoreUnavailable, match="drawn long before"), transaction(store) as connection:
        register.reserve(connection, "issuing", [int(serial, 16)], BEFORE)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Return a home that is 500 days old."""
    made = initialise(tmp_path / "home", beginning(algorithm="p-256"), BEGAN, lambda _: None)
    yield made
    made.close()


def test_what_is_archived_is_answered_for_as_before(home: Home, tmp_path: Path) -> None:
    who = caller(home)
    issuer = "test-issuing"

    async def walk() -> None:
        async with running(home, ManualClock(BEGAN + timedelta(days=1))) as service:
            made = [await create_identity(service.engine, who, JOHN_DOE, "r") for _ in range(3)]
            unused = await service.engine.issuance.serial(issuer)
        serials = [x509.load_der_x509_certificate(one.certificate).serial_number for one in made]
        with transaction(home.engine) as connection:
            register.revoke(connection, issuer, serial_text(serials[0]), "keyCompromise", BEGAN + timedelta(days=2))
            lived = biography(connection, made[1].id)
        async with running(home) as service:
            engine = service.engine

            async def told(serial: int) -> str:
                issuing = tmp_path / "issuer.pem"
                issuing.write_bytes(engine.responders[issuer].issuer.public_bytes(Encoding.PEM))
                query = ("-issuer", issuing, "-serial", hex(serial))
                run("openssl", "ocsp", "-no_nonce", *query, "-reqout", tmp_path / "request")
                now = engine.clock.now().replace(microsecond=0)
                answer = await engine.answers.ocsp((tmp_path / "request").read_bytes(), now)
                (tmp_path / "response").write_bytes(answer.der)
                verify = ("-respin", tmp_path / "response", "-CAfile", issuing, "-partial_chain")
                done = run("openssl", "ocsp", *query, *verify)
                assert b"Response verify OK" in done.stderr
                return done.stdout.decode()

            before = [(await told(serial)).split("\n")[0] for serial in (*serials, unused, unused + 1)]
            assert ["revoked" in before[0], "good" in before[1], "unknown" in before[3]] == [True] * 3
            engine.answers.forget()
            await archiving.archive_ended(engine.commits, engine.chain, [issuer], BEFORE, engine.clock.now())
            with reading(home.engine) as connection:
                found = [register.find(connection, issuer, serial_text(one)) for one in (*serials, unused)]
                assert [one and (one.profile == ARCHIVED, one.state) for one in found] == [
                    (False, State.REVOKED), (True, State.ISSUED), (True, State.ISSUED), (True, State.PLANNED)
                ]  # fmt: skip
                assert register.find(connection, issuer, serial_text(unused + 1)) is None
                # Of its life nothing is lost: the ledger has it.
                told_now = biography(connection, made[1].id)
            for name in "subject", "state", "not_after", "serial":
                assert getattr(told_now, name) == getattr(lived, name)
            assert [(await told(serial)).split("\n")[0] for serial in (*serials, unused, unused + 1)] == before
            # Also what is archived can be found to have been misused.
            with transaction(home.engine) as connection:
                register.revoke(connection, issuer, serial_text(serials[2]), "keyCompromise", engine.clock.now())
            engine.answers.forget()
            assert "revoked" in await told(serials[2])
            assert "good" in await told(serials[1])
            listed = await engine.answers.revocation_list(issuer, engine.clock.now())
            assert listed is not None
            crl = x509.load_der_x509_crl(listed.der)
            assert {one.serial_number for one in crl} == {serials[0], serials[2]}

    asyncio.run(walk())
