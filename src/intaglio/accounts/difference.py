"""What is different between two policy documents, place by place."""

from collections.abc import Iterator
from typing import Any

import msgspec


class Change(msgspec.Struct, frozen=True):
    """One place that differs; None where one of the documents has nothing there."""

    path: str
    before: Any
    after: Any


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Yield every place that differs, in the order of their paths; lists are compared as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, dict) and before and after is None:
        yield from changes(before, {}, path)
    elif isinstance(after, dict) and after and before is None:
        yield from changes({}, after, path)
    elif before != after:
        yield Change(path, before, after)
