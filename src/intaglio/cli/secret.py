"""Passphrases at a terminal: asked for without echo, or read from where a reference says."""

import os
import sys
from getpass import getpass
from pathlib import Path

from intaglio.errors import ContentRefused, Malformed
from intaglio.staff.key_file import LEAST_PASSPHRASE


def resolved(reference: str) -> str:
    """Return the secret that `file:PATH` or `env:NAME` refers to; raises `Malformed`, never with what was given."""
    scheme, _, place = reference.partition(":")
    if scheme == "file" and place:
        try:
            return Path(place).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Malformed("The secret cannot be read.", {"secret": f"{place} is no file of text here"}) from error
    if scheme == "env" and place in os.environ:
        return os.environ[place]
    raise Malformed("The secret cannot be read.", {"secret": "must be file:PATH or env:NAME, and be there"})


def new_passphrase() -> str:
    """Return a new passphrase, asked for twice; raises `ContentRefused`, or `Malformed` without a terminal."""
    if not sys.stdin.isatty():
        raise Malformed("There is nobody to ask for a passphrase.", {"secret": "use a terminal, or --secret"})
    first = getpass(f"New passphrase, at least {LEAST_PASSPHRASE} characters: ")
    if getpass("Again: ") != first:
        raise ContentRefused("No key was made.", {"passphrase": "the two are not the same"})
    return first


def asked(prompt: str) -> str:
    """Return a passphrase that is asked for; raises `Malformed` without a terminal."""
    if not sys.stdin.isatty():
        raise Malformed("There is nobody to ask for a passphrase.", {"secret": "use a terminal, or say where it is"})
    return getpass(prompt)
