"""Runs `intaglio` with a ceremony that kills itself (SIGKILL) at a place: `append N before|after`, or `key`.

`forgetful` is the control: a run that does not look for what an interrupted one did.

Usage: interrupted.py PLACE… -- ceremony run …
"""

import os
import signal
import sys

from intaglio.ceremony import actions
from intaglio.ceremony.transcript import Link, Transcript
from intaglio.cli.main import app
from intaglio.keys.algorithm import PrivateKey
from intaglio.keys.keyring import Keyring


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_append(number: int, *, before: bool) -> None:
    """Die before or after the entry `number` of this run is on disk."""
    written = 0
    append = Transcript.append

    def fatal(self: Transcript, link: Link) -> None:
        nonlocal written
        written += 1
        if written == number and before:
            # The worst that a crash leaves: half a line.
            os.write(self._descriptor, b'{"body":{"at":"20')
            die()
        append(self, link)
        if written == number:
            die()

    Transcript.append = fatal  # type: ignore[method-assign]


def kill_at_key() -> None:
    """Die once a new key is at rest, before anything else knows of it."""
    store = Keyring.store_key

    def fatal(self: Keyring, name: str, key: PrivateKey) -> None:
        store(self, name, key)
        die()

    Keyring.store_key = fatal  # type: ignore[method-assign]


def forget() -> None:
    """Look for nothing that was signed before."""
    actions._signed = lambda *_: None


if __name__ == "__main__":
    place = sys.argv[1 : sys.argv.index("--")]
    sys.argv[1:] = sys.argv[sys.argv.index("--") + 1 :]
    if place[0] == "append":
        kill_at_append(int(place[1]), before=place[2] == "before")
    elif place[0] == "key":
        kill_at_key()
    elif place[0] == "forgetful":
        forget()
    app()
