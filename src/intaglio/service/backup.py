"""A copy of a home that is consistent while the service runs, and a home made from it.

Neither the secrets of epochs are in it, so that no key of an identity outlives its time by it, nor what lies open in
the home: the master key, a PIN, the database's URL with its password.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from intaglio import __version__
from intaglio.database.engine import check_durable, migrate, open_engine, reading, transaction
from intaglio.database.snapshot import copy, file_of
from intaglio.errors import Conflict, ContentRefused, StoreUnavailable
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain, heads
from intaglio.pki.hierarchy import KeyPlace
from intaglio.revocation.register import forget_lists
from intaglio.service import roster
from intaglio.service.home import operator
from intaglio.service.lost import give_up_lost
from intaglio.settings import Settings, database_url, load, secret_references

MANIFEST = "backup.json"
_HOME = "home"
_DATABASE = "database.sqlite"
# Left by writers that were under way, or of no use elsewhere.
_PASSING = (".lock", ".new")


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: the SHA-256 (hex) of each file by its path in it.

    `left_out` says, by key of the settings, where the restored home expects what is to be kept apart; `heads` are
    sequence and hash of the last entry of each chain of the ledger, where the database is in the backup.
    """

    version: int
    made_by: str
    made_at: datetime
    database: str
    files: dict[str, str]
    left_out: dict[str, str]
    heads: dict[str, tuple[int, str]]


def back_up(home: Path, target: Path, now: datetime) -> Manifest:
    """Copy `home` to the new folder `target`; nothing is there before all of it is, durably.

    1. what is in files, while no command changes the hierarchy; 2. the database, so that it is never older than they
    are: of SQLite only, PostgreSQL has means of its own; 3. what there is, and the hash of each.
    Needs no master key. Raises `Conflict` if there is anything at `target`, `StoreUnavailable`.
    """
    settings = load(home)
    store = file_of(database_url(settings, home))
    if target.resolve().is_relative_to(home.resolve()):
        raise Conflict("A backup within the home would be lost with it.", {"target": "is in the home"})
    with _made(target) as draft:
        # 1
        with roster.changing(home):
            _copy_files(home, draft / _HOME, settings, store)
        # 2
        found: dict[str, tuple[int, str]] = {}
        if store is not None:
            copy(store, draft / _DATABASE)
            found = _heads(draft / _DATABASE)
        # 3
        database = "postgresql" if store is None else "sqlite"
        left_out = secret_references(settings)
        manifest = Manifest(1, __version__, now, database, _hashes(draft), left_out, found)
        _write(draft / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def restore(backup: Path, home: Path, now: datetime, database: Path | None = None) -> tuple[Manifest, int]:
    """Make the new folder `home` from a backup; return what it held, and how many epochs' keys were given up.

    Outside the home nothing is written but a SQLite file at `database`, if the settings have it there.
    1. nothing of the backup is missing, changed or added, or leads elsewhere; 2. the home is made beside its place, for
    its owner alone; 3. in the database,
    which of PostgreSQL is restored before, keys are given up that nobody can open, revocation lists are to be made
    anew, and it is written that and from when it was restored. Raises `Conflict`, `ContentRefused`, `StoreUnavailable`;
    then there is no `home`.
    """
    # 1
    manifest = _checked(backup)
    with _made(home) as draft:
        # 2
        for name, value in manifest.files.items():
            if name.startswith(f"{_HOME}/"):
                _take(backup / name, draft / name.removeprefix(f"{_HOME}/"), value)
        settings = load(draft)
        url = database_url(settings, draft)
        store = file_of(url)
        if store is not None:
            if not store.is_relative_to(draft.resolve()) and (database is None or store != database.resolve()):
                reason = {"database.url": "leads out of the home: give its file by --database"}
                raise ContentRefused(f"The settings of the backup have the database at {store}.", reason)
            _place(backup / _DATABASE, store, manifest.files.get(_DATABASE, ""))
        # 3
        try:
            lost = _tell_database(url, draft, settings, manifest, now)
        except BaseException:
            if store is not None:
                store.unlink()
            raise
    return manifest, lost


def _place(database: Path, target: Path, value: str) -> None:
    if target.exists():
        raise Conflict(f"{target} exists: nothing was changed.", {"database.url": "leads to a file that exists"})
    _take(database, target, value)


def _take(source: Path, target: Path, value: str) -> None:
    """Copy a file of a backup to a new one for its owner alone; raises `ContentRefused` if its hash is another."""
    for folder in reversed([one for one in target.parents if not one.exists()]):
        folder.mkdir(mode=0o700)
    # It may have been exchanged since it was looked at.
    with (
        os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as content,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        shutil.copyfileobj(content, file)
    if _hash(target) != value:
        target.unlink()
        raise ContentRefused("The backup is damaged; nothing was restored.", {source.name: "is not what was backed up"})


def _tell_database(url: str, draft: Path, settings: Settings, manifest: Manifest, now: datetime) -> int:
    engine, chain = open_engine(url), Chain(operator())
    try:
        with transaction(engine) as connection:
            check_durable(connection)
            migrate(connection)
            if not chain.begun(connection):
                raise StoreUnavailable("the database is empty: restore it first")
            details = {"made_at": manifest.made_at, "made_by": manifest.made_by, "heads": manifest.heads}
            chain.append(connection, [Event(now, "service.restored", details=details)])
            # There may have been newer ones: those to come have numbers above them.
            here = [one.name for one in roster.read(draft).authorities if one.key == KeyPlace.HERE]
            forget_lists(connection, here)
            return give_up_lost(connection, chain, draft, settings, now)
    finally:
        engine.dispose()


def _heads(database: Path) -> dict[str, tuple[int, str]]:
    engine = open_engine(f"sqlite:///{database}")
    try:
        with reading(engine) as connection:
            return heads(connection)
    finally:
        engine.dispose()


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, which takes its place, durably, when the block ends well, and else is removed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not empty: nothing was changed.", {folder.name: "exists"})
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        yield draft
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _copy_files(home: Path, target: Path, settings: Settings, store: Path | None) -> None:
    """Copy what is in files, but for what is left out."""
    references = [one.partition(":") for one in secret_references(settings).values()]
    left_out = {(home / place).resolve() for scheme, _, place in references if scheme == "file"}
    left_out.add((home / settings.keys.epoch_folder).resolve())
    if store is not None:
        left_out |= {Path(f"{store}{end}") for end in ("", "-wal", "-shm", "-journal")}
    for folder, folders, names in os.walk(home):
        here = Path(folder)
        folders[:] = [name for name in folders if (here / name).resolve() not in left_out]
        links = [name for name in folders if (here / name).is_symlink()]
        if links:
            place = here / links[0]
            raise Conflict(f"{place} is a link to a folder: what is in it would be missing.", {links[0]: "is a link"})
        (target / here.relative_to(home)).mkdir(mode=0o700, parents=True)
        for name in names:
            path = here / name
            # A socket, on which a proxy may come in, is no file.
            if path.is_file() and path.resolve() not in left_out and not name.endswith(_PASSING):
                shutil.copy2(path, target / path.relative_to(home))


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each file; raises `ContentRefused` where something else than files and folders is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name, mode = str(path.relative_to(folder)), path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[name] = _hash(path)
        elif not stat.S_ISDIR(mode):
            # What a link leads to is not in the backup.
            reason = {name: "is neither a file nor a folder"}
            raise ContentRefused("The backup is damaged; nothing was restored.", reason)
    found.pop(MANIFEST, None)
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(backup: Path) -> Manifest:
    found = _hashes(backup)
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise ContentRefused(f"There is no backup at {backup}.", {"backup": str(error.strerror)}) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContentRefused(f"{backup / MANIFEST} cannot be read.", {"backup": str(error)}) from error
    if manifest.version != 1:
        raise ContentRefused("The backup is of a newer version.", {"backup": f"has the version {manifest.version}"})
    wrong = {name for name, value in manifest.files.items() if found.get(name) != value} | found.keys() - manifest.files
    if wrong:
        reasons = dict.fromkeys(sorted(wrong), "is not what was backed up")
        raise ContentRefused("The backup is damaged; nothing was restored.", reasons)
    return manifest


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
