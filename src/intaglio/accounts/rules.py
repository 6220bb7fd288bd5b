"""The forms that a rule of a validation policy can have, and how a value is held against one.

Expressions are RE2: they match in time linear in the value, whatever their author wrote. Every rule answers what
is certified, and reports each fault under the path of its field.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any

import msgspec
import re2

from intaglio.pki.text import fault_of_mixture

_MOST_EXPRESSION = 512
MOST_ELEMENTS = 32
_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.max_mem = 1 << 20
_RE2_OPTIONS.log_errors = False

Fault = Callable[[str], str | None]

FORBIDDEN = "is forbidden by the account's policy"
STATIC = "is set by the account's policy and must not be sent with another value"
UNLIKE = "does not match the account's policy"


class Presence(StrEnum):
    """Whether a value may, must or must not be sent."""

    REQUIRED = "REQUIRED"
    OPTIONAL = "OPTIONAL"
    STATIC = "STATIC"
    FORBIDDEN = "FORBIDDEN"

    def admits(self, value: Any, path: str, faults: "Faults") -> bool:
        """Return whether there is a value to look at, after noting one that is missing or forbidden; not for STATIC."""
        if value is None and self == Presence.REQUIRED:
            faults.refuse(path, "is required")
        elif value is not None and self == Presence.FORBIDDEN:
            faults.refuse(path, FORBIDDEN)
        return value is not None and self != Presence.FORBIDDEN


class Choice(StrEnum):
    """The rule of a boolean."""

    OPTIONAL = "OPTIONAL"
    STATIC_TRUE = "STATIC_TRUE"
    STATIC_FALSE = "STATIC_FALSE"

    def take(self, value: Any, path: str, faults: "Faults") -> bool:
        """Return what is certified for `value` (None: not sent)."""
        if value is not None and not isinstance(value, bool):
            faults.mistype(path, "true or false")
            return False
        if self == Choice.OPTIONAL:
            return bool(value)
        static = self == Choice.STATIC_TRUE
        if value is not None and value is not static:
            faults.refuse(path, STATIC)
        return static


class Faults:
    """What is wrong, by field; wrong JSON types apart, since they are another kind of error."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.mistyped: dict[str, str] = {}

    def refuse(self, path: str, reason: str | None) -> None:
        """Note that the value at `path` is not allowed, unless `reason` is None."""
        if reason is not None:
            self.refused.setdefault(path, reason)

    def mistype(self, path: str, expected: str) -> None:
        """Note that the value at `path` is of the wrong JSON type."""
        self.mistyped.setdefault(path, f"must be {expected}")


def _fault(value: str, fault: Fault, *, mixed: bool) -> str | None:
    return fault(value) or (None if mixed else fault_of_mixture(value))


def take_object(value: Any, path: str, known: AbstractSet[str], faults: Faults) -> dict[str, Any]:
    """Return an object that was sent, empty if it was not; fields that are not `known` are refused."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.mistype(path, "an object")
        return {}
    for field in value.keys() - known:
        faults.refuse(f"{path}.{field}", "is not known")
    return value


class StringRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`format` is an expression that must match the whole value, or for STATIC the value itself."""

    presence: Presence
    format: str = ""
    # Words may mix scripts, which is how a name is imitated; said in a document only where it is so.
    mixed_scripts: bool = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is certified and nothing refused when nothing is sent."""
        return self.presence in {Presence.OPTIONAL, Presence.FORBIDDEN}

    def check(self, path: str, faults: Faults, fault: Fault) -> None:
        """Check the rule itself when it is stored."""
        if self.presence == Presence.STATIC:
            faults.refuse(f"{path}.format", fault(self.format) if self.format else "STATIC needs a value")
        elif self.format:
            check_expression(self.format, f"{path}.format", faults)

    def take(self, value: Any, path: str, faults: Faults, fault: Fault) -> str | None:
        """Return what is certified for `value` (None: not sent)."""
        if value is not None and not isinstance(value, str):
            faults.mistype(path, "a string")
            return None
        if self.presence == Presence.STATIC:
            if value is not None and value != self.format:
                faults.refuse(path, STATIC)
            return self.format
        if not self.presence.admits(value, path, faults) or value is None:
            return None
        reason = _fault(value, fault, mixed=self.mixed_scripts)
        if reason is None and self.format and not fits(self.format, value):
            reason = UNLIKE
        faults.refuse(path, reason)
        return value


class ListRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every element must match one expression of `list`; if `static`, the elements are `list` itself."""

    static: bool = False
    values: list[str] = msgspec.field(name="list", default_factory=list)
    mincount: int = 0
    maxcount: int = 0
    mixed_scripts: bool = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is certified and nothing refused when nothing is sent."""
        return not self.static and self.mincount == 0

    def check(self, path: str, faults: Faults, fault: Fault) -> None:
        """Check the rule itself when it is stored."""
        check_counts(self.mincount, self.maxcount, path, faults)
        for place, item in enumerate(self.values):
            if self.static:
                faults.refuse(f"{path}.list[{place}]", fault(item))
            else:
                check_expression(item, f"{path}.list[{place}]", faults)
        if self.static and not 0 < len(self.values) <= MOST_ELEMENTS:
            faults.refuse(f"{path}.list", f"a static list needs 1 to {MOST_ELEMENTS} values")
        if self.static and len(set(self.values)) < len(self.values):
            faults.refuse(f"{path}.list", "holds a value twice")

    def take(self, value: Any, path: str, faults: Faults, fault: Fault) -> tuple[str, ...]:
        """Return what is certified for `value` (None: not sent)."""
        if value is not None and not isinstance(value, list):
            faults.mistype(path, "a list of strings")
            return ()
        if self.static:
            if value is not None and value != self.values:
                faults.refuse(path, STATIC)
            return tuple(self.values)
        items = value or []
        check_amount(len(items), self.mincount, self.maxcount, path, faults)
        taken: list[str] = []
        for place, item in enumerate(items[:MOST_ELEMENTS]):
            here = f"{path}[{place}]"
            if not isinstance(item, str):
                faults.mistype(here, "a string")
                continue
            reason = _fault(item, fault, mixed=self.mixed_scripts)
            if reason is None and self.values and not any(fits(one, item) for one in self.values):
                reason = UNLIKE
            if item in taken:
                reason = "is sent twice"
            faults.refuse(here, reason)
            taken.append(item)
        return tuple(taken)


class IntegerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`min` and `max` are both allowed; for STATIC they are the same, the value."""

    presence: Presence
    least: int = msgspec.field(name="min", default=0)
    most: int = msgspec.field(name="max", default=0)

    def check(self, path: str, faults: Faults, most: int) -> None:
        """Check the rule itself when it is stored; no value may ever be above `most`."""
        if self.presence == Presence.STATIC and self.least != self.most:
            faults.refuse(path, "STATIC needs min and max to be the value")
        elif self.presence != Presence.FORBIDDEN and not 0 <= self.least <= self.most <= most:
            faults.refuse(path, f"needs 0 ≤ min ≤ max ≤ {most}")

    def take(self, value: Any, path: str, faults: Faults) -> int | None:
        """Return what is certified for `value` (None: not sent)."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            faults.mistype(path, "an integer")
            return None
        if self.presence == Presence.STATIC:
            if value is not None and value != self.least:
                faults.refuse(path, STATIC)
            return self.least
        if not self.presence.admits(value, path, faults) or value is None:
            return None
        if not self.least <= value <= self.most:
            faults.refuse(path, f"must be from {self.least} to {self.most}")
        return value


_expressions: dict[str, Any] = {}


def fits(pattern: str, value: str) -> bool:
    """Return whether an expression matches the whole of a value."""
    # Many policies say so of most fields. The library lets go of the interpreter, which busy threads are slow to give
    # back.
    if pattern == ".*":
        return "\n" not in value
    return _expression(pattern).fullmatch(value) is not None


def _expression(pattern: str) -> Any:
    """Return a compiled expression; compiled once, when its policy is loaded."""
    found = _expressions.get(pattern)
    if found is None:
        if len(_expressions) > 4096:
            _expressions.clear()
        found = _expressions[pattern] = re2.compile(pattern, _RE2_OPTIONS)
    return found


def check_expression(pattern: str, path: str, faults: Faults) -> None:
    """Note what keeps `pattern` from being used as an expression."""
    if len(pattern) > _MOST_EXPRESSION:
        faults.refuse(path, f"an expression has at most {_MOST_EXPRESSION} characters")
        return
    try:
        _expression(pattern)
    except UnicodeEncodeError:
        faults.refuse(path, "is not an RE2 expression: it has half a surrogate pair")
    except re2.error as error:
        # re2 hands over bytes.
        reason = error.args[0] if error.args else ""
        faults.refuse(path, f"is not an RE2 expression: {reason.decode() if isinstance(reason, bytes) else reason}")


def check_counts(least: int, most: int, path: str, faults: Faults) -> None:
    """Note counts of a rule that contradict each other."""
    if not 0 <= least <= most <= MOST_ELEMENTS:
        faults.refuse(path, f"needs 0 ≤ mincount ≤ maxcount ≤ {MOST_ELEMENTS}")


def check_amount(amount: int, least: int, most: int, path: str, faults: Faults) -> None:
    """Note that too many or too few elements were sent."""
    if amount > most:
        faults.refuse(path, FORBIDDEN if most == 0 else f"at most {most} are allowed")
    elif amount < least:
        faults.refuse(path, "is required" if least == 1 else f"at least {least} are required")
