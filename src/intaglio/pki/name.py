"""Names as they are certified and as they are told, written in one go.

Every identity has one. By way of pyca's objects, each checked, encoded and escaped by itself, a name of many attributes
takes more than twice as long.
"""

import re
from collections.abc import Iterable

import msgspec
from cryptography import x509

from intaglio.pki.der import element, object_identifier

UTF8_STRING, PRINTABLE_STRING, IA5_STRING = 0x0C, 0x13, 0x16

# RFC 4514 §3
_SHORT = {
    "2.5.4.3": "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}
# RFC 4514 §2.4: what is escaped wherever it stands, with a leading # or blank and a trailing blank.
_SPECIAL = re.compile(r'[\\"+,;<>\0]|^[# ]| \Z')


class DistinguishedName(msgspec.Struct, frozen=True):
    """A name: `der` is an RDNSequence (RFC 5280 §4.1.2.4), `text` the same as in RFC 4514, last attribute first."""

    der: bytes
    text: str

    @property
    def empty(self) -> bool:
        """Whether there is no attribute in it."""
        return self.der == b"\x30\x00"


def distinguished(attributes: Iterable[tuple[str, int, str]]) -> DistinguishedName:
    """Return the name of these attributes, each an RDN of its own: object identifier, tag of the string type, value."""
    encoded, told = [], []
    for oid, kind, value in attributes:
        content = element(0x30, object_identifier(oid), element(kind, value.encode()))
        encoded.append(element(0x31, content))
        told.append(f"{_SHORT.get(oid, oid)}={_escaped(value)}")
    return DistinguishedName(element(0x30, *encoded), ",".join(reversed(told)))


def named(name: x509.Name) -> DistinguishedName:
    """Return a name that pyca read or made."""
    return DistinguishedName(name.public_bytes(), name.rfc4514_string())


def _escaped(value: str) -> str:
    if _SPECIAL.search(value) is None:
        return value
    return _SPECIAL.sub(lambda found: "\\00" if found[0] == "\0" else f"\\{found[0]}", value)
