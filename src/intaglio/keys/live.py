"""Private keys unsealed into memory for a while: bounded in number, gone when their time is over."""

from collections import OrderedDict
from datetime import datetime

from intaglio.keys.algorithm import PrivateKey


class LiveKeys:
    """At most `most` keys by the id of what they belong to; the one used longest ago gives way first."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Raised by every `clear`: a key that was looked up before one must not come in after it.
        self.generation = 0
        self._keys: OrderedDict[str, tuple[PrivateKey, datetime]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, owner: str, key: PrivateKey, not_after: datetime, generation: int) -> None:
        """Keep `key` for `owner` until `not_after`, if `generation` is still that of the lookup's beginning."""
        if generation != self.generation:
            return
        self._keys[owner] = (key, not_after)
        self._keys.move_to_end(owner)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)

    def get(self, owner: str, now: datetime) -> PrivateKey | None:
        """Return the key of `owner`, or None when it is not (or no longer) here."""
        held = self._keys.get(owner)
        if held is None:
            return None
        if now > held[1]:
            del self._keys[owner]
            return None
        self._keys.move_to_end(owner)
        return held[0]

    def drop(self, owner: str) -> None:
        """Forget the key of `owner`, if it is here."""
        self._keys.pop(owner, None)

    def drop_beginning(self, owners: str) -> None:
        """Forget the keys of all whose names begin with `owners`."""
        for owner in [owner for owner in self._keys if owner.startswith(owners)]:
            del self._keys[owner]

    def clear(self) -> None:
        """Forget every key: what may sign is asked of the register again."""
        self.generation += 1
        self._keys.clear()

    def destroy_expired(self, now: datetime) -> int:
        """Forget every key whose time is over; return how many."""
        over = [owner for owner, (_, not_after) in self._keys.items() if now > not_after]
        for owner in over:
            del self._keys[owner]
        return len(over)
