"""An officer confirms: the secret is asked for, opens the officer's key for one signature, and is forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from intaglio.ceremony import card
from intaglio.ceremony.entry import Signed
from intaglio.ceremony.officer import CardOfficer, Officer, SecretOfficer, officer_key
from intaglio.errors import IntaglioError, Malformed, Unauthenticated
from intaglio.staff import key_file
from intaglio.staff.signature import check, encoded, low, sign

TRIES = 3

# Why an officer counts as absent, as it stands in the transcript.
DECLINED = "did not confirm"
WRONG_SECRET = "wrong secret"  # noqa: S105 - a reason
UNUSABLE = "the key could not be used"


class Desk(Protocol):
    """Where officers sit: their secrets are asked for, and told is what happens."""

    def tell(self, text: str) -> None:
        """Say what happens."""
        ...

    def secret(self, officer: Officer, covers: str) -> str | None:
        """Return the officer's passphrase or PIN, None if the officer is not there or does not confirm."""
        ...

    def key_file(self, officer: SecretOfficer) -> Path:
        """Return where the officer's key file is; raises `Malformed` when nobody says."""
        ...

    def again(self, officer: Officer) -> bool:
        """Return whether the officer may be asked again after a wrong secret."""
        ...


def confirm(officer: Officer, covers: str, desk: Desk, draft: Callable[[], tuple[Signed, bytes]]) -> Signed | str:
    """Return the entry with the officer's signature, or the reason why the officer counts as absent.

    `draft` returns the entry as it would be now, and what to sign for it.
    """
    reason = DECLINED
    for left in reversed(range(TRIES)):
        secret = desk.secret(officer, covers)
        if secret is None:
            return reason
        entry, content = draft()
        try:
            signature = _sign(officer, secret, content, desk)
            check(officer_key(officer), signature, content)
        except Unauthenticated as error:
            reason = WRONG_SECRET
            desk.tell(f"{officer.name}: {error}")
        except (IntaglioError, InvalidSignature, ValueError) as error:
            reason = UNUSABLE
            desk.tell(f"{officer.name}: {error or 'the key does not make valid signatures'}")
        else:
            return msgspec.structs.replace(entry, signature=signature)
        if not left or not desk.again(officer):
            break
    return reason


def _sign(officer: Officer, secret: str, content: bytes, desk: Desk) -> bytes:
    expected = officer_key(officer)
    if isinstance(officer, CardOfficer):
        signature = card.sign(officer, secret, content)
        return low(signature) if isinstance(expected, ec.EllipticCurvePublicKey) else signature
    key = key_file.unlock(desk.key_file(officer), secret)
    if encoded(key.public_key()) != encoded(expected):
        raise Malformed("The key file is another officer's: its public key is not the one in the script.")
    return sign(key, content)
