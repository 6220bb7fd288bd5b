"""The disk is full: 503, nothing half done, and on with the work as soon as there is room."""

import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from served import JOHN_DOE, Partner, make_partner, small_service

# A file system of its own, which only the service sees.
MOUNT = 'mount -t tmpfs -o size=12m tmpfs "$0" && cp "$1" "$0/intaglio.db" && shift && exec "$@"'


def sign(partner: Partner, identity: str, signed: list[str]) -> httpx.Response:
    digest = secrets.token_hex(32)
    answer = partner.get(f"/identity/{identity}/sign/{digest}")
    if answer.status_code == 200:
        signed.append(digest)
    return answer


def test_a_full_disk_refuses_and_then_serves_again(tmp_path: Path, counted: Callable[[str], None]) -> None:
    service = small_service(tmp_path / "home")
    service.start()
    partner = make_partner(service, tmp_path / "partner", "--kind", "individual", "--test")
    assert service.stop() == 0
    disk = service.home / "disk"
    disk.mkdir()
    settings = service.home / "intaglio.toml"
    kept = settings.read_text()
    assert "[database]" not in kept
    settings.write_text(kept + '\n[database]\nurl = "sqlite:///disk/intaglio.db"\n')
    service.runner = ("unshare", "-rm", "sh", "-ec", MOUNT, disk, service.home / "intaglio.db")
    service.start()
    assert service.process is not None
    inside = Path(f"/proc/{service.process.pid}/root{disk}")
    signed: list[str] = []
    refused: list[httpx.Response] = []
    identity = partner.post("/identity", JOHN_DOE).json()["id"]
    for _ in range(20):
        assert sign(partner, identity, signed).status_code == 200
    ballast = inside / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    until = time.monotonic() + 60
    while len(refused) < 20:
        assert time.monotonic() < until
        answer = sign(partner, identity, signed)
        if answer.status_code != 200:
            refused.append(answer)
    assert {one.status_code for one in refused} == {503}
    assert all("retry-after" in one.headers for one in refused)
    before = len(signed)
    ballast.unlink()
    freed = time.monotonic()
    while sign(partner, identity, signed).status_code != 200:
        assert time.monotonic() < freed + 10
    seconds = time.monotonic() - freed
    for _ in range(20):
        assert sign(partner, identity, signed).status_code == 200
    # The file system ends with the service; who stands still writes nothing while it is copied.
    service.process.send_signal(signal.SIGSTOP)
    for found in inside.glob("intaglio.db*"):
        shutil.copy(found, tmp_path)
    service.process.send_signal(signal.SIGCONT)
    service.runner = ()
    assert service.stop() == 0
    partner.client.close()
    settings.write_text(kept)
    for old in service.home.glob("intaglio.db*"):
        old.unlink()
    for name in ("intaglio.db", "intaglio.db-wal"):
        shutil.copy(tmp_path / name, service.home)
    with sqlite3.connect(service.home / "intaglio.db") as connection:
        bodies = b"".join(body for (body,) in connection.execute("SELECT body FROM ledger"))
    assert [digest for digest in signed if digest.encode() not in bodies] == []
    entries = service.intaglio("ledger", "verify")["entries"]
    counted(
        f"{before} signatures, then {len(refused)} times 503 with Retry-After on a full disk, signing again"
        f" {seconds:.2f} s after there was room; all {len(signed)} in the ledger of {entries} entries"
    )
