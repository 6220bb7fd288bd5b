"""Changes of the hierarchy, each killed (SIGKILL) before every one of its durable moments in turn, and gone on with.

Usage: interrupted.py FOLDER [forgetful]. Prints how often each was killed. `forgetful` is the control: a change that
does not look for what an interrupted one did.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from sqlalchemy import event, select

from intaglio.database.engine import reading
from intaglio.ledger.verify import verify
from intaglio.ledger.writer import recorded
from intaglio.pki.hierarchy import Hierarchy, State
from intaglio.revocation.register import certificates
from intaglio.service import authorities
from intaglio.service.authorities import responders, roots
from intaglio.service.home import Home, open_home
from offline import carried, empty_home, now, publish
from onboarded import small_home

TITLE = "TEST Document Signing CA 2"
ROOT = {"title": "TEST Root CA 2", "algorithm": "p-256", "test": True}


def arm(home: Home, number: int) -> None:
    """Die before the durable moment `number`: a file on disk, or a commit."""
    count = 0
    sync = os.fsync

    def moment() -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(descriptor: int) -> None:
        moment()
        sync(descriptor)

    vars(os)["fsync"] = fsync
    event.listen(home.engine, "commit", lambda _: moment())


def killed(folder: Path, change: Callable[[Home], object], number: int) -> bool:
    """Run `change` in a process of its own, killed at a moment unless that is 0; return whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            home = open_home(folder)
            if number:
                arm(home, number)
            change(home)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error} {getattr(error, 'fields', '')}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, number
    return False


def keys(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "keys").glob("*.sealed")}


def check(folder: Path, done: Callable[[Home], bool]) -> None:
    """Show that a home holds together: what was asked for is done, once, and every certificate is in its place."""
    home = open_home(folder)
    roster = home.roster()
    assert done(home), "it was not done"
    for member in roster.members:
        if not member.certified:
            continue
        certificate = home.certificate(member.name)
        certificate.verify_directly_issued_by(home.certificate(member.issuer or member.name))
        if member.key == "here":
            assert home.keyring.key(member.name).public_key() == certificate.public_key(), member.name
    with reading(home.engine) as connection:
        verify(recorded(connection))
        ders = connection.scalars(select(certificates.c.der).where(certificates.c.der.is_not(None)))
        held = [x509.load_der_x509_certificate(der).public_key() for der in ders]
    for one in held:
        assert held.count(one) == 1, "a key was certified twice"
    home.close()


def everywhere(pristine: Path, folder: Path, change: Callable[[Home], object], done: Callable[[Home], bool]) -> int:
    """Kill `change` at each of its moments, on a fresh copy; go on with it, and check; return how many there were."""
    number = 0
    while True:
        number += 1
        shutil.copytree(pristine, folder)
        if not killed(folder, change, number):
            shutil.rmtree(folder)
            return number - 1
        before = keys(folder)
        assert not killed(folder, change, 0)
        after = keys(folder)
        # No key that was there is another now; it may only be gone by its destruction.
        assert all(after[name] == sealed for name, sealed in before.items() if name in after)
        check(folder, done)
        shutil.rmtree(folder)


def active(name: str) -> Callable[[Home], bool]:
    def done(home: Home) -> bool:
        return home.roster().member(name).state == State.ACTIVE

    return done


def main(folder: Path) -> dict[str, int]:
    """Kill every change everywhere."""
    home = small_home(folder / "home")
    vault = empty_home(folder / "vault", home.settings.public.url)
    copy, counts = folder / "copy", {}

    def kill(name: str, place: Home, change: Callable[[Home], object], done: Callable[[Home], bool]) -> None:
        place.engine.dispose()
        counts[name] = everywhere(place.path, copy, change, done)
        change(place)

    kill("create_root", vault, lambda h: authorities.create_root(h, "test-root-2", now=now(), **ROOT),  # type: ignore[arg-type]
         active("test-root-2"))  # fmt: skip
    root = vault.certificate("test-root-2")
    kill("install_root", home, lambda h: authorities.install_root(h, "test-root-2", root, now(), test=True),
         active("test-root-2"))  # fmt: skip
    listed = publish(vault, "test-root-2")
    kill("import_list", home, lambda h: authorities.import_list(h, "test-root-2", listed, now()), lambda _: True)
    carried(home, vault, "test-root-2", "test-root-2-ocsp", "ocsp", "TEST Root CA 2 OCSP Responder", "p-256")

    def ask(place: Home) -> x509.CertificateSigningRequest:
        return authorities.request_authority(
            place, "test-issuing-2", profile="issuing", title=TITLE, algorithm="p-256", test=True, now=now()
        )

    kill("request_authority", home, ask, lambda h: h.roster().member("test-issuing-2").state == State.REQUESTED)
    csr = ask(home)
    signed = authorities.sign_request(vault, "test-root-2", csr, profile="issuing", title=TITLE, now=now())
    kill("install_authority", home,
         lambda h: authorities.install_authority(h, "test-issuing-2", "test-root-2", signed, now()),
         active("test-issuing-2"))  # fmt: skip
    kill("activate", home, lambda h: authorities.activate(h, Hierarchy.TEST, "test-issuing-2", now()),
         lambda h: h.roster().family(Hierarchy.TEST).issuing == "test-issuing-2")  # fmt: skip
    kill("destroy_key", home, lambda h: authorities.destroy_key(h, "test-issuing", now()),
         lambda h: not (h.path / "keys/test-issuing.sealed").exists())  # fmt: skip
    home.close()
    return counts


if __name__ == "__main__":
    if sys.argv[2:] == ["forgetful"]:
        vars(roots)["certified"] = vars(responders)["certified"] = lambda *_: None
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
