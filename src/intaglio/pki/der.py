"""Writing DER (X.690) where a structure is made too often, or is too small, for a declared class."""


def element(tag: int, *parts: bytes) -> bytes:
    """Return one element: tag, definite length, the parts as content (X.690 §8.1, §10.1)."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


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
