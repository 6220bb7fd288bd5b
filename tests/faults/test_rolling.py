"""A new version comes in while the old one serves: no request fails that is tried once more, and nothing is lost."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nodes import also_at, two_nodes
from postgres import Server
from served import JOHN_DOE, Partner, Served, make_partner
from variants import SOURCE, variant

DIGEST = "AB" * 32
THREADS = 4

# What a later version may bring: only more.
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None


def upgrade():
    op.create_table("fancies", sa.Column("id", sa.String(8), primary_key=True))
    op.add_column("ledger", sa.Column("fancy", sa.String(8)))
    op.add_column("accounts", sa.Column("fancy", sa.Integer(), nullable=False, server_default="7"))
    op.create_index("fancy_accounts", "accounts", ["fancy"])
    {more}
"""


@pytest.fixture
def store() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


def newer(folder: Path, more: str = "") -> dict[str, str]:
    """Make a version of the service with one migration more."""
    before = max(path.name[:4] for path in (SOURCE / "intaglio/database/migrations/versions").glob("0*.py"))
    return variant(folder, _9999_next=NEXT.format(before=before, more=more))


class Load:
    """Clients that sign, each answer at one node or, if that one is away, once more at the other."""

    def __init__(self, partners: list[Partner], identity: str) -> None:
        self.partners = partners
        self.identity = identity
        # Lists: threads append to them, and would lose count.
        self._signed: list[int] = []
        self._again: list[int] = []
        self.failed: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def signed(self) -> int:
        return len(self._signed)

    @property
    def again(self) -> int:
        return len(self._again)

    def _run(self, place: int) -> None:
        for turn in itertools.count(place):
            if self._ended.is_set():
                return
            first = self._ask(self.partners[turn % 2])
            if first is not None:
                self._again.append(turn)
                second = self._ask(self.partners[(turn + 1) % 2])
                if second is not None:
                    self.failed.append(f"{first}, then {second}")

    def _ask(self, partner: Partner) -> str | None:
        try:
            answer = partner.get(f"/identity/{self.identity}/sign/{DIGEST}")
        except httpx.TransportError as error:
            time.sleep(0.05)
            return repr(error)
        if answer.status_code == 200:
            self._signed.append(1)
            return None
        return f"{answer.status_code} {answer.text}"

    def wait_for(self, more: int) -> None:
        until, before = time.monotonic() + 30, self.signed
        while self.signed < before + more and time.monotonic() < until:
            time.sleep(0.05)
        assert self.signed >= before + more

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_a_new_version_comes_in_node_by_node_and_the_old_one_may_come_back(store: Server, tmp_path: Path) -> None:
    nodes = two_nodes(tmp_path, store.new_database(), 2)
    later = newer(tmp_path / "next")

    def turn(node: Served, version: dict[str, str]) -> None:
        assert node.stop() == 0
        node.environment = version
        node.start()
        load.wait_for(40)

    for node in nodes:
        node.start()
    partner = make_partner(nodes[0], tmp_path / "p", "--kind", "individual", "--test")
    partners = [partner, also_at(nodes[1], partner)]
    load = Load(partners, partner.post("/identity", JOHN_DOE).json()["id"])
    try:
        load.wait_for(40)
        turn(nodes[0], later)  # the database is brought to the new version beside the old node
        turn(nodes[1], {})  # the old version starts anew on it
        turn(nodes[0], {})  # and the new one is taken back
        turn(nodes[0], later)
        turn(nodes[1], later)
    finally:
        load.end()
    assert load.failed == []
    assert b"of a newer version" in nodes[1].log.read_bytes()
    assert nodes[1].intaglio("ledger", "verify")["entries"] >= load.signed
    wanted = ("--account", partner.account_id, "--kind", "signature.made")
    told = len(nodes[0].intaglio("ledger", "show", *wanted, "--most", "99999"))
    # What was cut off between its entry and its answer is there, too.
    assert load.signed <= told <= load.signed + load.again
    for each in partners:
        each.client.close()
    for node in nodes:
        assert node.stop() == 0


def test_a_version_that_takes_something_away_keeps_older_ones_out(store: Server, tmp_path: Path) -> None:
    node = two_nodes(tmp_path, store.new_database(), 1)[0]
    node.environment = newer(tmp_path / "next", "op.execute(\"UPDATE revision SET oldest = '9999'\")")
    node.start()
    assert node.stop() == 0
    node.environment = {}
    with pytest.raises(AssertionError, match="oldest that still serves is 9999"):
        node.start()
