"""How a request of v2 shows by what its subject was verified: in header fields, since the body is the contract's."""

import hashlib
import re
from collections.abc import Iterable

from intaglio.accounts.verification.presented import NOTHING, Presented
from intaglio.errors import Malformed

VERIFICATION = "Identity-Verification"
TOKEN = "Identity-Token"  # noqa: S105 - the name of a header field
_FIELDS = {VERIFICATION.lower().encode(): VERIFICATION, TOKEN.lower().encode(): TOKEN}
# The reference is a string as RFC 9651 §3.3.3 writes it.
_FORM = re.compile(r'\A([0-9a-f]{32})(?: *; *ref="((?:[ !#-\[\]-~]|\\["\\]){1,128})")?\Z')
_ESCAPED = re.compile(r'\\(["\\])')
_COMPACT = re.compile(r"\A[A-Za-z0-9_.-]+\Z")


def presented(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Presented:
    """Return what the header fields of a request show; raises `Malformed` naming the field."""
    found: dict[str, str] = {}
    for name, value in headers:
        field = _FIELDS.get(name)
        if field is not None:
            if field in found:
                raise _malformed(field, "was sent twice")
            found[field] = value.decode("latin-1")
    if not found:
        return NOTHING
    identifier = reference = None
    if VERIFICATION in found:
        form = _FORM.match(found[VERIFICATION])
        if form is None:
            reason = 'must be the id of a mechanism, and may go on with ; ref="1 to 128 characters of ASCII"'
            raise _malformed(VERIFICATION, reason)
        identifier, reference = form.groups()
    if reference is not None:
        reference = _ESCAPED.sub(r"\1", reference)
    token = found.get(TOKEN)
    if token is None:
        return Presented(identifier, reference)
    if not _COMPACT.match(token):
        raise _malformed(TOKEN, "must be a JWT in compact form")
    return Presented(identifier, reference, token, hashlib.sha256(body).digest())


def _malformed(field: str, reason: str) -> Malformed:
    return Malformed(f"The header field {field} cannot be read.", {field.lower(): reason})
