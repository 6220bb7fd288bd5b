"""The tree against a straightforward reading of RFC 9162 §2.1, for every size and leaf that is drawn."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import cases
from intaglio.ledger import merkle
from intaglio.ledger.merkle import Place
from rfc9162 import definition, root_by_path

MOST = 70_000


def contents(size: int) -> list[bytes]:
    return [number.to_bytes(4) for number in range(size)]


def grown(sizes: list[int]) -> dict[Place, bytes]:
    """The tiles of a tree that grew by these sizes."""
    tiles: dict[Place, bytes] = {}
    size = 0

    def read(level: int, number: int) -> bytes:
        return tiles[level, number]

    for step in sizes:
        hashes = [merkle.leaf_hash((size + number).to_bytes(4)) for number in range(step)]
        tiles |= merkle.grown(read, size, hashes)
        size += step
    return tiles


@pytest.fixture(scope="module")
def large() -> dict[Place, bytes]:
    """Three levels of tiles: 256 x 256 leaves, and some."""
    return grown([1, 255, 256, 300, MOST - 812])


@given(steps=st.lists(st.integers(1, 700), min_size=1, max_size=5))
@settings(max_examples=cases(40), deadline=None)
def test_a_tree_that_grew_in_any_steps_is_the_tree_of_the_definition(steps: list[int]) -> None:
    tiles, size = grown(steps), sum(steps)
    expected = definition(contents(size))
    assert merkle.root(lambda *place: tiles[place], size) == expected
    frontier = merkle.Frontier()
    frontier.extend(map(merkle.leaf_hash, contents(size)))
    assert (frontier.size, frontier.root()) == (size, expected)


@given(size=st.integers(1, 2000), data=st.data())
@settings(max_examples=cases(40), deadline=None)
def test_every_leaf_is_proven_and_nothing_else_is(large: dict[Place, bytes], size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    read: list[Place] = []

    def tile(level: int, number: int) -> bytes:
        read.append((level, number))
        return large[level, number]

    root = definition(contents(size))
    proof = merkle.path(tile, index, size)
    leaf = merkle.leaf_hash(index.to_bytes(4))
    assert root_by_path(leaf, index, size, proof) == root
    # The controls: another leaf, another place, another hash in the proof, one more or less of them.
    assert root_by_path(merkle.leaf_hash(b"x"), index, size, proof) != root
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index)) if size > 1 else None
    if other is not None:
        with suppress(ValueError):
            assert root_by_path(leaf, other, size, proof) != root
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
        assert root_by_path(leaf, index, size, changed) != root
        with pytest.raises(ValueError, match="short"):
            root_by_path(leaf, index, size, proof[:-1])
    with pytest.raises(ValueError, match="long"):
        root_by_path(leaf, index, size, [*proof, bytes(32)])


def test_a_proof_in_a_large_tree_reads_a_few_tiles(large: dict[Place, bytes]) -> None:
    read: set[Place] = set()

    def tile(level: int, number: int) -> bytes:
        read.add((level, number))
        return large[level, number]

    expected = merkle.Frontier()
    expected.extend(map(merkle.leaf_hash, contents(MOST)))
    for index in (0, 255, 256, 65_535, 65_536, MOST - 1):
        read.clear()
        proof = merkle.path(tile, index, MOST)
        assert root_by_path(merkle.leaf_hash(index.to_bytes(4)), index, MOST, proof) == expected.root()
        assert len(read) <= 6
