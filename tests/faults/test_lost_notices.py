"""A credential is revoked at one node while the other, which has it in memory, hears of nothing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodes import also_at, two_nodes
from postgres import Server
from served import Partner, make_partner
from variants import variant

# Nothing is heard of what the database tells, and of what it would be asked.
DEAF = ("database/notices.py", 'if self._engine.dialect.name == "postgresql":', "if not self._engine:")
CARELESS = (
    ("accounts/sessions.py", "_POLL_SECONDS = 0.2", "_POLL_SECONDS = 3600.0"),
    ("accounts/sessions.py", "_BELIEVED_SECONDS = 1.0", "_BELIEVED_SECONDS = 3600.0"),
)


def accepted_for(folder: Path, store: Server, changes: tuple[tuple[str, str, str], ...], most: float) -> float:
    """Return for how long after a revocation the other node went on serving."""
    nodes = two_nodes(folder, store.new_database(), 1)
    nodes[1].environment = variant(folder / "deaf", DEAF, *changes)
    for node in nodes:
        node.start()
    partner = make_partner(nodes[0], folder / "p", "--kind", "individual", "--test")
    other: Partner = also_at(nodes[1], partner)
    try:
        assert other.get("/trustchain").status_code == 200
        nodes[0].intaglio("credential", "revoke", partner.credential_id, "--reason", "superseded")
        # The command ends after its commit.
        begun = time.monotonic()
        while other.get("/trustchain").status_code == 200:
            if time.monotonic() > begun + most:
                break
            time.sleep(0.01)
        return time.monotonic() - begun
    finally:
        partner.client.close()
        other.client.close()
        for node in nodes:
            assert node.stop() == 0


@pytest.fixture
def store() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


def test_a_revocation_holds_within_a_second(store: Server, tmp_path: Path, counted: Callable[[str], None]) -> None:
    seconds = accepted_for(tmp_path, store, (), 5)
    assert seconds <= 1.0
    counted(f"refused at the other node {seconds:.2f} s after the revocation, with every notice lost")


def test_control_who_does_not_ask_goes_on(store: Server, tmp_path: Path, counted: Callable[[str], None]) -> None:
    seconds = accepted_for(tmp_path, store, CARELESS, 2)
    assert seconds > 2
    counted("a node that does not ask still served after 2 s")
