"""A Merkle tree over the ledger (RFC 9162 §2.1), kept in tiles of 256 hashes (C2SP tlog-tiles).

A tile of level `n` holds hashes of complete subtrees of 256**n leaves; the last tile of each level may be shorter. What
a proof needs lies in a few tiles, however many leaves there are.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
# Hashes of one tile, and how many levels of the tree that is.
WIDTH = 256
_HEIGHT = 8
TILE_BYTES = WIDTH * HASH_BYTES
_MOST_KNOWN = 10_000

# Returns the tile of a level and index.
ReadTile = Callable[[int, int], bytes]
Place = tuple[int, int]


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[place], hashes[place + 1]) for place in range(0, len(hashes), 2)]
    return hashes[0]


def _split(tile: bytes) -> list[bytes]:
    return [tile[place : place + HASH_BYTES] for place in range(0, len(tile), HASH_BYTES)]


def tile_root(tile: bytes) -> bytes:
    """Return the root over a full tile, which is a hash of the tile above."""
    return _fold(_split(tile))


def grown(read: ReadTile, size: int, leaves: Sequence[bytes]) -> dict[Place, bytes]:
    """Return the tiles that are new or longer once the hashes of `leaves` stand behind the first `size`."""
    changed: dict[Place, bytes] = {}
    level, fresh = 0, list(leaves)
    while fresh:
        index, filled = divmod(size, WIDTH)
        size = index
        joined = (read(level, index)[: filled * HASH_BYTES] if filled else b"") + b"".join(fresh)
        fresh = []
        for begin in range(0, len(joined), TILE_BYTES):
            tile = joined[begin : begin + TILE_BYTES]
            changed[level, index] = tile
            if len(tile) == TILE_BYTES:
                fresh.append(tile_root(tile))
            index += 1
        level += 1
    return changed


def root(read: ReadTile, size: int) -> bytes:
    """Return the root over the first `size` leaves."""
    return _range_root(read, 0, size) if size else hashlib.sha256().digest()


def path(read: ReadTile, index: int, size: int, known: dict[Place, bytes] | None = None) -> list[bytes]:
    """Return the inclusion proof of a leaf in the tree of the first `size`, from the leaf up (RFC 9162 §2.1.3.1).

    `known` holds what was computed before, by beginning and length, for who proves many leaves of one tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    found: list[bytes] = []
    begin, length = 0, size
    while length > 1:
        left = _split_at(length)
        if index < begin + left:
            found.append(_known(read, begin + left, length - left, known))
            length = left
        else:
            found.append(_known(read, begin, left, known))
            begin, length = begin + left, length - left
    return found[::-1]


def _known(read: ReadTile, begin: int, length: int, known: dict[Place, bytes] | None) -> bytes:
    if known is None:
        return _range_root(read, begin, length)
    if (begin, length) not in known:
        if len(known) > _MOST_KNOWN:
            known.clear()
        known[begin, length] = _range_root(read, begin, length)
    return known[begin, length]


def _split_at(length: int) -> int:
    """Return the largest power of two that is smaller."""
    return 1 << (length - 1).bit_length() - 1


def _range_root(read: ReadTile, begin: int, length: int) -> bytes:
    """Return the root over leaves that begin at a multiple of the power of two that is not smaller than `length`."""
    if length & (length - 1):
        left = _split_at(length)
        return node_hash(_range_root(read, begin, left), _range_root(read, begin + left, length - left))
    # A complete subtree: its root, or what it is folded from, lies in one tile.
    level, within = divmod(length.bit_length() - 1, _HEIGHT)
    index, offset = divmod(begin >> level * _HEIGHT, WIDTH)
    hashes = _split(read(level, index))[offset : offset + (1 << within)]
    if len(hashes) != 1 << within:
        raise ValueError(f"tile {level}/{index} is too short")
    return _fold(hashes)


class Frontier:
    """A tree that only grows and knows its root: the roots of the complete subtrees that it consists of."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Take in the hash of the next leaf."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._roots.pop(), leaf)
            size >>= 1
        self._roots.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Take in the hashes of the next leaves."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._roots:
            return hashlib.sha256().digest()
        found = self._roots[-1]
        for left in self._roots[-2::-1]:
            found = node_hash(left, found)
        return found
