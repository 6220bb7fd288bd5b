"""An officer signs with a smart card or token (PKCS#11), in a process of its own for each signature.

In ours, the home's own token or an officer before may have logged in already, and then the module would sign for any
PIN. In a new process, no signature comes without the PIN. The PIN goes through a pipe; a wrong one is never tried again
by itself.
"""

import hashlib
import subprocess
import sys

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from intaglio.ceremony.officer import CardOfficer, officer_key
from intaglio.errors import KeyUnavailable, Unauthenticated
from intaglio.keys.card import CardKey, sign_once

_SECONDS = 60


class _Order(msgspec.Struct, frozen=True):
    """What the other process is to do."""

    card: CardKey
    pin: str
    digest: bytes


class _Answer(msgspec.Struct, frozen=True):
    """What came of it: a signature, or what went wrong and whether it was the PIN."""

    signature: bytes | None = None
    error: str = ""
    wrong_pin: bool = False


def sign(officer: CardOfficer, pin: str, content: bytes) -> bytes:
    """Return the signature of an officer's card over `content`; ECDSA in DER.

    Raises `Unauthenticated` for a wrong PIN, `KeyUnavailable` for anything else that keeps the card from signing.
    """
    card = CardKey(
        module=officer.module,
        token=officer.token,
        serial=officer.serial,
        label=officer.key,
        key_id=officer.key_id,
        rsa=isinstance(officer_key(officer), rsa.RSAPublicKey),
    )
    order = _Order(card, pin, hashlib.sha256(content).digest())
    command = [sys.executable, "-c", "from intaglio.ceremony.card import answer; answer()"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(order), capture_output=True, timeout=_SECONDS, check=False
        )
        found = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Answer)
    except subprocess.TimeoutExpired:
        # Its own traceback would show the order, and in it the PIN.
        raise KeyUnavailable(f"the token {officer.token} does not answer") from None
    except (msgspec.MsgspecError, IndexError):
        raise KeyUnavailable(f"the module {officer.module} ended the process that it was loaded into") from None
    if found.signature is not None:
        return found.signature
    if found.wrong_pin:
        raise Unauthenticated(found.error, {"secret": "wrong"})
    raise KeyUnavailable(found.error)


def answer() -> None:
    """Do what standard input orders and write what came of it: the other process."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    try:
        found = _Answer(signature=sign_once(order.card, order.pin, order.digest))
    except Unauthenticated as error:
        found = _Answer(error=str(error), wrong_pin=True)
    except KeyUnavailable as error:
        found = _Answer(error=str(error))
    # A module may have written something of its own: the answer stands in a line of its own.
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(found) + b"\n")
