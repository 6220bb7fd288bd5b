"""A straightforward reading of RFC 9162 §2.1, which shares nothing with the service's own."""

import hashlib
from collections.abc import Sequence


def definition(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, word by word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:split]) + definition(leaves[split:])).digest()


def root_by_path(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162 §2.1.3.2); raises `ValueError` for a wrong length."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    node, last, found = index, size - 1, leaf
    for beside in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if node & 1 or node == last:
            found = hashlib.sha256(b"\x01" + beside + found).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + beside).digest()
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return found
