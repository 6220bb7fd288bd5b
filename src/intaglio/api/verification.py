"""How a request of v2 shows by what its subject was verified: in header fields, since the body is the contract's."""

import re
from collections.abc import Iterable

from intaglio.accounts.verification.presented import NOTHING, Presented
from intaglio.errors import Malformed

VERIFICATION = "Identity-Verification"
_VERIFICATION = VERIFICATION.lower().encode()
# The reference is a string as RFC 9651 §3.3.3 writes it.
_FORM = re.compile(r'\A([0-9a-f]{32})(?: *; *ref="((?:[ !#-\[\]-~]|\\["\\]){1,128})")?\Z')
_ESCAPED = re.compile(r'\\(["\\])')


def presented(headers: Iterable[tuple[bytes, bytes]]) -> Presented:
    """Return what the header fields of a request show; raises `Malformed` naming the field."""
    found: bytes | None = None
    for name, value in headers:
        if name == _VERIFICATION:
            if found is not None:
                raise _malformed("was sent twice")
            found = value
    if found is None:
        return NOTHING
    form = _FORM.match(found.decode("latin-1"))
    if form is None:
        raise _malformed('must be the id of a mechanism, and may go on with ; ref="1 to 128 characters of ASCII"')
    identifier, reference = form.groups()
    return Presented(identifier, None if reference is None else _ESCAPED.sub(r"\1", reference))


def _malformed(reason: str) -> Malformed:
    return Malformed(f"The header field {VERIFICATION} cannot be read.", {VERIFICATION.lower(): reason})
