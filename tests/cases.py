"""How many cases a property test tries: `make nightly` asks for a hundred thousand of each."""

import os


def cases(number: int) -> int:
    """Return `number`, or as many as the environment asks for."""
    return int(os.environ.get("INTAGLIO_CASES", number))
