"""A SHA-256 digest, and nothing else, is what a client may have signed or stamped."""

import re

import msgspec

from intaglio.errors import ContentRefused

_FORM = re.compile(r"\A[0-9A-Fa-f]{64}\Z")


class Digest(msgspec.Struct, frozen=True):
    """32 bytes of SHA-256."""

    value: bytes

    @classmethod
    def from_hex(cls, text: str) -> "Digest":
        """Return the digest written as 64 hex characters of either case; raises `ContentRefused`."""
        if _FORM.match(text) is None:
            raise ContentRefused("The digest is not a SHA-256 digest.", {"digest": "must be 64 hexadecimal characters"})
        return cls(bytes.fromhex(text))
