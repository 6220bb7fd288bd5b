"""Writing DER (X.690) where a structure is made too often, or is too small, for a declared class."""

from datetime import datetime
from functools import lru_cache


def element(tag: int, *parts: bytes) -> bytes:
    """Return one element: tag, definite length, the parts as content (X.690 §8.1, §10.1)."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


@lru_cache(256)
def object_identifier(dotted: str) -> bytes:
    """Return an object identifier (X.690 §8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        octets = [arc & 0x7F]
        left = arc >> 7
        while left:
            octets.append(0x80 | (left & 0x7F))
            left >>= 7
        content += bytes(reversed(octets))
    return element(0x06, bytes(content))


def integer(value: int) -> bytes:
    """Return an INTEGER (X.690 §8.3): two's complement, as short as can be."""
    length = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return element(0x02, value.to_bytes(length, "big", signed=True))


def generalized_time(value: datetime) -> bytes:
    """Return a UTC time as GeneralizedTime in whole seconds (X.690 §11.7)."""
    # `strftime` takes three times as long.
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    return b"\x18\x0f%04d%02d%02d%02d%02d%02dZ" % parts


def time(value: datetime) -> bytes:
    """Return UTCTime until 2049, GeneralizedTime after (RFC 5280 §4.1.2.5, RFC 5652 §11.3)."""
    if value.year >= 2050:
        return generalized_time(value)
    parts = (value.year % 100, value.month, value.day, value.hour, value.minute, value.second)
    return b"\x17\x0d%02d%02d%02d%02d%02d%02dZ" % parts


def content_of(encoded: bytes, place: int = 0) -> tuple[int, int]:
    """Return where the content of the element at `place` begins and ends; `encoded` must be DER."""
    first = encoded[place + 1]
    begin = place + 2 if first < 0x80 else place + 2 + (first & 0x7F)
    length = first if first < 0x80 else int.from_bytes(encoded[place + 2 : begin], "big")
    return begin, begin + length


def elements(encoded: bytes) -> list[bytes]:
    """Return the elements in a constructed element; `encoded` must be DER."""
    place, end = content_of(encoded)
    found = []
    while place < end:
        _, after = content_of(encoded, place)
        found.append(encoded[place:after])
        place = after
    return found


def is_element(encoded: bytes, deepest: int = 16) -> bool:
    """Return whether `encoded` is exactly one element with a definite, minimal length, and so what it is made of.

    Tags above 30 and nesting deeper than `deepest` are not taken. Contents of primitive types are not looked into.
    """
    return _length(encoded, deepest) == len(encoded) > 0


def _length(encoded: bytes, deepest: int) -> int:
    """Return how many octets the first element has, or -1 when there is none."""
    if len(encoded) < 2 or encoded[0] & 0x1F == 0x1F or encoded[1] == 0x80 or deepest == 0:
        return -1
    start = 2 if encoded[1] < 0x80 else 2 + (encoded[1] & 0x7F)
    size = encoded[1] if start == 2 else int.from_bytes(encoded[2:start], "big")
    content = encoded[start : start + size]
    if len(content) != size or element(encoded[0], content) != encoded[: start + size]:
        return -1
    place = 0
    # Bit 6 of the tag: constructed (X.690 §8.1.2.5).
    while encoded[0] & 0x20 and place < size:
        inner = _length(content[place:], deepest - 1)
        if inner < 0:
            return -1
        place += inner
    return start + size
