"""Nonces for identity tokens that a client fetches here first: nothing is stored, and each is for one account."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from intaglio.accounts.verification.token import decoded, encoded

LIFETIME = timedelta(minutes=10)
_RANDOM, _TAG = 16, 16


class Nonces:
    """Makes and knows again the nonces of every process that has the same secret."""

    def __init__(self, secret: bytes) -> None:
        # A secret that serves something else as well is used for this under a name of its own.
        self._secret = hmac.digest(secret, b"intaglio nonces of identity tokens", hashlib.sha256)

    def make(self, account_id: str, now: datetime) -> str:
        """Return a nonce for an account: the end of its life, chance, and a MAC over both and the account."""
        body = int((now + LIFETIME).timestamp()).to_bytes(8, "big") + secrets.token_bytes(_RANDOM)
        return encoded(body + self._mac(account_id, body))

    def fresh(self, nonce: str, account_id: str, now: datetime) -> bool:
        """Return whether it was made for the account and its life is not over."""
        try:
            octets = decoded(nonce)
        except ValueError:
            return False
        body, mac = octets[:-_TAG], octets[-_TAG:]
        # Written in one way alone: what was used is known by its text.
        if encoded(octets) != nonce:
            return False
        if len(body) != 8 + _RANDOM or not hmac.compare_digest(mac, self._mac(account_id, body)):
            return False
        return now.timestamp() < int.from_bytes(body[:8], "big")

    def _mac(self, account_id: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, account_id.encode() + b"\0" + body, hashlib.sha256)[:_TAG]
