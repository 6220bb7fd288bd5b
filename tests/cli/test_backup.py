"""A backup made while the service works; what comes out of it, and what does not."""

import hashlib
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from intaglio.database.engine import reading
from intaglio.errors import ContentRefused, KeyUnavailable
from intaglio.keys import register
from intaglio.service import backup
from intaglio.service.home import Home, open_home
from intaglio_client import revocation
from intaglio_client.errors import UnexpectedAnswer
from postgres import Server
from served import ADMINISTRATION, BIN, Partner, Served, free_port, make_partner, run, tls

DIGEST = hashlib.sha256(b"x")
TEST = ("--kind", "organization", "--organization", "Example", "--country", "DE", "--test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backup")


@pytest.fixture(scope="module")
def working(folder: Path) -> Iterator[Served]:
    service = Served(folder / "home", free_port(), free_port())
    ports = ("--api-port", str(service.api_port), "--pki-port", str(service.pki_port))
    service.intaglio("init", "--algorithm", "p-256", *ports)
    service.start()
    yield service
    if service.process is not None:
        service.stop()


@pytest.fixture(scope="module")
def partner(working: Served, folder: Path) -> Iterator[Partner]:
    made = make_partner(working, folder / "partner", *TEST)
    yield made
    made.client.close()


def moved(home: Path, *, api: int, public: int) -> Served:
    """Have a home listen elsewhere, as beside the one that it was copied from."""
    settings = home / "intaglio.toml"
    head, _, tail = settings.read_text().partition("[public]")
    head, tail = (
        re.sub(r"port = \d+", f"port = {port}", text, count=1) for text, port in ((head, api), (tail, public))
    )
    settings.write_text(f"{head}[public]{tail}")
    return Served(home, api, public)


def certificate(identity: dict[str, str]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity["signing_cert"].encode())


def crl_number(service: Served) -> int:
    found = x509.load_der_x509_crl(httpx.get(f"{service.public}/crl/test-issuing.crl").content)
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def opens(home: Home, key_id: str, database: Path) -> None:
    """Open an identity's key as it rests in a copy of the database, with what a home has."""
    row = sqlite3.connect(database).execute(
        "SELECT id, algorithm, form, epoch, sealed, public_key FROM identity_keys WHERE id = ?", (key_id,)
    )
    found = row.fetchone()
    now = datetime.now(UTC)
    key = register._sealed((*found, now, now))
    home.custodies[key.form].open(key)


def test_a_backup_under_load_becomes_a_service_again(working: Served, partner: Partner, folder: Path) -> None:
    alive = partner.post("/identity", ADMINISTRATION).json()
    got: list[str] = []
    ended = threading.Event()

    def load(number: int) -> None:
        with httpx.Client(base_url=working.url, verify=tls(working, partner.folder), timeout=20) as client:
            while not ended.is_set():
                digest = hashlib.sha256(f"{number} {len(got)}".encode()).hexdigest()
                path = f"/identity/{alive['id']}/sign/{digest}"
                answer = client.get(path, headers=partner.authorization)
                assert answer.status_code == 200
                got.append(answer.headers["x-request-id"])

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        while len(got) < 50:
            assert any(thread.is_alive() for thread in threads)
        before = list(got)
        target = folder / "copy"
        made = working.intaglio("backup", target)
        assert len(got) > len(before), "nothing was signed meanwhile"
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    later = partner.post("/identity", ADMINISTRATION).json()
    number, serial = crl_number(working), f"{certificate(later).serial_number:x}"
    working.intaglio("certificate", "revoke", serial, "--issuer", "test-issuing", "--reason", "keyCompromise")
    until = time.monotonic() + 60
    while (lost_number := crl_number(working)) == number and time.monotonic() < until:
        time.sleep(0.1)
    assert lost_number > number

    # What opens things is not in it.
    secrets = {(working.home / "master.key").read_text().strip().encode()}
    secrets |= {path.read_bytes() for path in (working.home / "keys/epochs").iterdir()}
    assert len(secrets) > 1
    held = [path for path in target.rglob("*") if path.is_file()]
    for path in held:
        assert not any(secret in path.read_bytes() for secret in secrets), path
        public = path.suffix in {".crt", ".toml", ".json", ".jsonl", ".vkey"}
        assert public or path.stat().st_mode & 0o077 == 0, path
    assert made["left_out"] == {"keys.master_key": "file:master.key"}

    # Whatever a client had before it began is in it.
    kept = sqlite3.connect(target / "database.sqlite")
    recorded = {row[0] for row in kept.execute("SELECT request_id FROM ledger WHERE kind = 'signature.made'")}
    kept.close()
    assert set(before) <= recorded

    # Without the master key nothing opens; with another neither.
    restored = folder / "restored"
    told = json.loads(run(BIN / "intaglio", "restore", target, "--home", restored, "--json").stdout)
    assert told["epochs_given_up"] == 1
    for key in (None, "00" * 32):
        if key is not None:
            (restored / "master.key").touch(mode=0o600)
            (restored / "master.key").write_text(key)
        started = run(BIN / "intaglio", "serve", "--home", restored, check=False)
        assert started.returncode == 2
        assert b"master key" in started.stderr or b"seal" in started.stderr, started.stderr
    shutil.copy2(working.home / "master.key", restored / "master.key")

    # The key of an identity that was alive: it opens where the epoch's secret is, and nowhere else.
    here, there = open_home(working.home), open_home(restored)
    opens(here, alive["id"], target / "database.sqlite")
    with pytest.raises(KeyUnavailable):
        opens(there, alive["id"], target / "database.sqlite")
    with reading(there.engine) as connection:
        life = register.life(connection, alive["id"])
        assert life is not None
        assert life.destroyed_at is not None
        assert not register.living_epochs(connection)
    here.close()
    there.close()

    again = moved(restored, api=free_port(), public=free_port())
    heads = ("--heads", target / "home/heads", "--key", target / "home/pki/ledger.vkey")
    assert again.intaglio("ledger", "verify", *heads)["outside"] >= 1
    (entry,) = again.intaglio("ledger", "show", "--kind", "service.restored")
    assert entry["details"]["heads"] == made["heads"]
    again.start()
    try:
        with httpx.Client(base_url=again.url, verify=tls(again, partner.folder), timeout=20) as client:
            moved_partner = Partner(again, partner.folder, partner.account_id, "", partner.secret, client)
            moved_partner.login()
            assert moved_partner.get(f"/identity/{alive['id']}/sign/{DIGEST.hexdigest()}").status_code == 404
            fresh = moved_partner.post("/identity", ADMINISTRATION)
            assert fresh.status_code == 200, fresh.text
            answer = moved_partner.get(f"/identity/{fresh.json()['id']}/sign/{DIGEST.hexdigest()}")
            _verify(certificate(fresh.json()), bytes.fromhex(answer.json()["signature"]))
        issuer = x509.load_der_x509_certificate(httpx.get(f"{again.public}/ca/test-issuing.crt").content)
        revocation.ask(f"{again.public}/ocsp", certificate(alive), issuer, datetime.now(UTC), 10)
        # No number of a list is given twice.
        assert crl_number(again) > lost_number
        # What was issued after it is not known there: docs/operate/backup.md says what follows.
        with pytest.raises(UnexpectedAnswer, match="unknown"):
            revocation.ask(f"{again.public}/ocsp", certificate(later), issuer, datetime.now(UTC), 10)
    finally:
        assert again.stop() == 0
    assert again.intaglio("ledger", "verify", *heads)["entries"] > len(before)
    # What was lost shows against heads from after the backup.
    lost = ("ledger", "verify", "--heads", working.home / "heads", "--home", restored)
    assert run(BIN / "intaglio", *lost, check=False).returncode == 1


def _verify(found: x509.Certificate, signature: bytes) -> None:
    key, prehashed = found.public_key(), utils.Prehashed(hashes.SHA256())
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, DIGEST.digest(), padding.PKCS1v15(), prehashed)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, DIGEST.digest(), ec.ECDSA(prehashed))


def _refused(*command: str | Path) -> bytes:
    done = run(BIN / "intaglio", *command, check=False)
    assert done.returncode in {1, 2}
    return done.stderr


def test_nothing_is_overwritten_and_nothing_damaged_restored(working: Served, folder: Path) -> None:
    target, new = folder / "whole", folder / "new"
    with socket.socket(socket.AF_UNIX) as front:
        front.bind(str(working.home / "front"))
        working.intaglio("backup", target)
    assert not (target / "home/front").exists()
    (working.home / "front").unlink()
    assert b"not empty" in _refused("backup", target, "--home", working.home)
    assert b"lost with it" in _refused("backup", working.home / "inside", "--home", working.home)
    assert b"not empty" in _refused("restore", target, "--home", working.home)
    damages: dict[str, Any] = {
        "changed": lambda copy: (copy / "database.sqlite").write_bytes(
            (copy / "database.sqlite").read_bytes()[:-1] + b"!"
        ),
        "missing": lambda copy: (copy / "home/tls/server.crt").unlink(),
        "added": lambda copy: (copy / "home/keys/other.sealed").write_bytes(b"x"),
    }
    for name, damage in damages.items():
        copy = folder / name
        shutil.copytree(target, copy)
        damage(copy)
        with pytest.raises(ContentRefused, match="damaged") as refused:
            backup.restore(copy, new, datetime.now(UTC))
        assert len(refused.value.fields) == 1, name
        assert not new.exists()
    links: dict[str, Path] = {"home/linked": folder, "home/tls/endless": Path("/dev/zero"), "backup.json": target}
    for name, leads_to in links.items():
        copy = folder / name.replace("/", "-")
        shutil.copytree(target, copy)
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(leads_to)
        with pytest.raises(ContentRefused, match="damaged") as refused:
            backup.restore(copy, new, datetime.now(UTC))
        assert refused.value.fields == {name: "is neither a file nor a folder"}
        assert not new.exists()
    (folder / "elsewhere").mkdir()
    (working.home / "linked").symlink_to(folder / "elsewhere")
    assert b"link" in _refused("backup", folder / "third", "--home", working.home)
    (working.home / "linked").unlink()
    assert not (folder / "third").exists()
    assert not list(folder.glob(".third*")), "half a backup was left"


def test_a_restored_home_is_its_owner_s_and_leads_nowhere_else(working: Served, folder: Path) -> None:
    copy, home, outside = folder / "open", folder / "own", folder / "outside/of-it.sqlite"
    working.intaglio("backup", copy)
    settings = copy / "home/intaglio.toml"
    text = settings.read_text()
    assert "[database]" not in text
    settings.write_text(f'{text}\n[database]\nurl = "sqlite:///{outside}"\n')
    manifest = json.loads((copy / "backup.json").read_text())
    manifest["files"]["home/intaglio.toml"] = hashlib.sha256(settings.read_bytes()).hexdigest()
    (copy / "backup.json").write_text(json.dumps(manifest))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o777)
    wrong: list[list[str | Path]] = [[], ["--database", folder / "another.sqlite"]]
    for database in wrong:
        assert b"leads out of the home" in _refused("restore", copy, "--home", home, *database)
        assert not home.exists()
        assert not outside.parent.exists()
    run(BIN / "intaglio", "restore", copy, "--home", home, "--database", outside)
    assert outside.stat().st_mode & 0o777 == 0o600
    modes = {path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in (home, *home.rglob("*")) if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


def test_secrets_of_epochs_that_are_lost_keep_nobody_waiting(working: Served, partner: Partner) -> None:
    """As when they lie on a memory file system, and the machine starts again."""
    alive = partner.post("/identity", ADMINISTRATION).json()["id"]
    working.stop()
    shutil.rmtree(working.home / "keys/epochs")
    working.start()
    partner.login()
    assert partner.get(f"/identity/{alive}/sign/{DIGEST.hexdigest()}").status_code == 404
    fresh = partner.post("/identity", ADMINISTRATION)
    assert fresh.status_code == 200, fresh.text
    assert working.intaglio("identity", "show", alive)["key_destroyed_at"] is not None


def test_with_postgresql_the_home_is_backed_up_beside_a_dump(tmp_path: Path) -> None:
    server = Server()
    try:
        reference = tmp_path / "url"
        reference.touch(mode=0o600)
        reference.write_text(server.new_database())
        service = Served(tmp_path / "home", free_port(), free_port())
        service.intaglio("init", "--algorithm", "p-256", "--database", f"file:{reference}")
        made = service.intaglio("backup", tmp_path / "copy")
        assert made["database"] == "postgresql"
        assert made["left_out"] == {"keys.master_key": "file:master.key", "database.url": f"file:{reference}"}
        dump = subprocess.run(
            ["pg_dump", "--format=custom", "--dbname", reference.read_text()], capture_output=True, check=True
        ).stdout
        reference.write_text(server.new_database())
        restore = ("restore", tmp_path / "copy", "--home", tmp_path / "restored")
        assert b"is empty" in _refused(*restore)
        assert not (tmp_path / "restored").exists()
        run("pg_restore", "--dbname", reference.read_text(), "--no-owner", stdin=dump)
        run(BIN / "intaglio", *restore)
        shutil.copy2(tmp_path / "home/master.key", tmp_path / "restored/master.key")
        again = Served(tmp_path / "restored", 1, 1)
        assert again.intaglio("ledger", "verify")["entries"] > 1
        assert len(again.intaglio("ledger", "show", "--kind", "service.restored")) == 1
    finally:
        server.end()
