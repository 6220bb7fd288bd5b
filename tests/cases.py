"""How many cases a property test tries: `make nightly` asks for many times as many."""

import os


def cases(number: int) -> int:
    """Return how many to try where `number` are enough for every day."""
    return number * int(os.environ.get("INTAGLIO_CASES_TIMES", "1"))
