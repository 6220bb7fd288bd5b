"""Heads go to a webhook and to a foreign authority, and nobody waits for either."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import msgspec
import pytest

from commands import run
from composed import composed
from intaglio.database.engine import reading
from intaglio.errors import Conflict, ProviderUnavailable
from intaglio.ledger import stamps, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.examination import examine
from intaglio.ledger.head import opened
from intaglio.ledger.outside import kept
from intaglio.service.elsewhere import post_heads, stamp_elsewhere
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.stamping import imprint, judge, stamp, stamp_heads
from onboarded import small_home
from served import Served


@contextmanager
def listening(folder: Path, answer: Callable[[bytes], tuple[int, bytes]], *, tls: bool) -> Iterator[str]:
    """A server of somebody else, which answers what is posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, content = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        made = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "tls.key", "-out", folder / "tls.crt")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=webhook", *made)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def configured(path: Path, settings: str) -> Home:
    small_home(path).close()
    with (path / "intaglio.toml").open("a") as file:
        file.write(f"\n[ledger]\n{settings}\n")
    return open_home(path)


def test_the_newest_head_is_posted_and_nothing_waits_for_it(tmp_path: Path) -> None:
    posted: list[dict[str, str]] = []
    statuses = [200, 503, 200]

    def answer(content: bytes) -> tuple[int, bytes]:
        posted.append(msgspec.json.decode(content))
        return statuses[len(posted) - 1], b""

    async def walk(home: Home) -> None:
        async with composed(home) as (service, heads):
            work = post_heads(home, service.engine)
            await work()
            assert posted == []
            for _ in range(3):
                await service.record(Event(datetime.now(UTC), "test"))
                await heads.sign(datetime.now(UTC))
                # Refused the second time: it is not tried again at once.
                await work()
            assert len(posted) == 2
            for _ in range(300):
                await asyncio.sleep(0.05)
                await work()
                if len(posted) == 3:
                    break
            await work()

    with listening(tmp_path, answer, tls=True) as url:
        home = configured(tmp_path / "home", f'webhook = "{url}"\nca_file = "{tmp_path}/tls.crt"')
        asyncio.run(walk(home))
        home.close()
    key = verifying_key(home)
    assert key is not None
    sizes = [opened(one["head"], key).size for one in posted]
    # The second was never taken: the third, which is over everything, took its place.
    assert sizes[0] < sizes[1] < sizes[2]
    assert len(posted) == 3


async def stamped(home: Home, times: int = 1) -> None:
    async with composed(home) as (service, heads):
        work = stamp_elsewhere(home, service.engine)
        await work()
        for _ in range(times):
            now = datetime.now(UTC)
            await service.record(Event(now, "test"))
            await heads.sign(now)
            head = await service.engine.commits.read(tree.newest)
            assert head is not None
            await stamp(home, service.engine, head, now)
            await work()
            # Once it is stamped there is nothing more to ask for.
            await work()
            await heads.sign(now)


def test_a_foreign_authority_stamps_the_head_that_ours_stamped(served: Served, tmp_path: Path) -> None:
    roots = served.home / "pki/root.crt"
    home = configured(tmp_path / "home", f'foreign_tsa = "{served.public}/tsa"\nforeign_tsa_roots = "{roots}"')
    asyncio.run(stamped(home))
    with reading(home.engine) as connection:
        foreign = stamps.latest(connection, foreign=True)
        ours = stamps.latest(connection)
        assert foreign is not None
        assert ours is not None
        assert foreign.size == ours.size
        found = examine(connection, verifying_key(home), kept(home.path / "heads"), judge=judge(home))
        assert found.stamps == 2
        note = next(one.note for one in kept(home.path / "heads"))
    (tmp_path / "token").write_bytes(foreign.token)
    command = ("openssl", "ts", "-verify", "-in", tmp_path / "token", "-token_in", "-digest", imprint(note).hex())
    assert b"OK" in run(*command, "-CAfile", roots).stdout

    async def idle() -> bool:
        """Two stamps' entries are no reason for another."""
        async with composed(home) as (service, heads):
            later = datetime.now(UTC) + timedelta(minutes=5)
            await heads.sign(later)
            before = await service.engine.commits.read(stamps.latest)
            await stamp_heads(home, service.engine)()
            return before == await service.engine.commits.read(stamps.latest)

    assert asyncio.run(idle())
    home.close()


@pytest.mark.parametrize("attack", ["another root", "replayed", "refused", "nonsense", "too much"])
def test_a_foreign_stamp_that_does_not_hold_is_not_taken(served: Served, tmp_path: Path, attack: str) -> None:
    first: list[bytes] = []
    said = {"nonsense": b"x", "too much": bytes(100_000), "refused": b"\x30\x05\x30\x03\x02\x01\x02"}

    def answer(content: bytes) -> tuple[int, bytes]:
        if attack in said:
            return 200, said[attack]
        headers = {"content-type": "application/timestamp-query"}
        first.append(httpx.post(f"{served.public}/tsa", content=content, headers=headers).content)
        return 200, first[0]

    with listening(tmp_path, answer, tls=False) as url:
        roots = "pki/root.crt" if attack == "another root" else f"{served.home}/pki/root.crt"
        home = configured(tmp_path / "home", f'foreign_tsa = "{url}"\nforeign_tsa_roots = "{roots}"')
        with pytest.raises(ProviderUnavailable):
            asyncio.run(stamped(home, 2))
        with reading(home.engine) as connection:
            # The first of those that are replayed later was a good one.
            taken = stamps.latest(connection, foreign=True)
            assert (taken is not None) == (attack == "replayed")
        home.close()


def test_roots_that_are_none_are_named(tmp_path: Path) -> None:
    home = configured(tmp_path / "home", 'foreign_tsa = "http://x.example"\nforeign_tsa_roots = "intaglio.toml"')
    with pytest.raises(Conflict, match="has no certificates"):
        judge(home)
    home.close()
