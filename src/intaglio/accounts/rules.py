"""The forms that a rule of a validation policy can have, and how a value is held against one.

Expressions are RE2: they match in time linear in the value, whatever their author wrote. Every rule answers what
is certified, and reports each fault under the path of its field.
"""

import base64
import binascii
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
import re2

from intaglio.pki import der, text
from intaglio.pki.subject import Typed

_MOST_EXPRESSION = 512
_MOST_ELEMENTS = 32
_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.max_mem = 1 << 20
_RE2_OPTIONS.log_errors = False

Fault = Callable[[str], str | None]


class Presence(StrEnum):
    """Whether a value may, must or must not be sent."""

    REQUIRED = "REQUIRED"
    OPTIONAL = "OPTIONAL"
    STATIC = "STATIC"
    FORBIDDEN = "FORBIDDEN"


class ValueType(StrEnum):
    """How the value of a typed map is encoded."""

    IA5STRING = "IA5STRING"
    PRINTABLESTRING = "PRINTABLESTRING"
    UTF8STRING = "UTF8STRING"
    INTEGER = "INTEGER"
    DER = "DER"
    NIL = "NIL"


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


class StringRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`format` is an expression that must match the whole value, or for STATIC the value itself."""

    presence: Presence
    format: str = ""

    def check(self, path: str, faults: Faults, fault: Fault) -> None:
        """Check the rule itself when it is stored."""
        if self.presence == Presence.STATIC:
            faults.refuse(f"{path}.format", fault(self.format) if self.format else "STATIC needs a value")
        elif self.format:
            _check_expression(self.format, f"{path}.format", faults)

    def take(self, value: Any, path: str, faults: Faults, fault: Fault) -> str | None:
        """Return what is certified for `value` (None: not sent)."""
        if self.presence == Presence.STATIC:
            if value is not None and value != self.format:
                faults.refuse(path, "is set by the account's policy and must not be sent with another value")
            return self.format
        if value is None:
            if self.presence == Presence.REQUIRED:
                faults.refuse(path, "is required")
            return None
        if self.presence == Presence.FORBIDDEN:
            faults.refuse(path, "is forbidden by the account's policy")
            return None
        if not isinstance(value, str):
            faults.mistype(path, "a string")
            return None
        reason = fault(value)
        if reason is None and self.format and not expression(self.format).fullmatch(value):
            reason = "does not match the account's policy"
        faults.refuse(path, reason)
        return value


class ListRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every element must match one expression of `list`; if `static`, the elements are `list` itself."""

    static: bool = False
    values: list[str] = msgspec.field(name="list", default_factory=list)
    mincount: int = 0
    maxcount: int = 0

    def check(self, path: str, faults: Faults, fault: Fault) -> None:
        """Check the rule itself when it is stored."""
        _check_counts(self.mincount, self.maxcount, path, faults)
        for place, item in enumerate(self.values):
            if self.static:
                faults.refuse(f"{path}.list[{place}]", fault(item))
            else:
                _check_expression(item, f"{path}.list[{place}]", faults)
        if self.static and not self.values:
            faults.refuse(f"{path}.list", "a static list needs values")

    def take(self, value: Any, path: str, faults: Faults, fault: Fault) -> tuple[str, ...]:
        """Return what is certified for `value` (None: not sent)."""
        if self.static:
            if value is not None and value != self.values:
                faults.refuse(path, "is set by the account's policy and must not be sent with another value")
            return tuple(self.values)
        items = [] if value is None else value
        if not isinstance(items, list):
            faults.mistype(path, "a list of strings")
            return ()
        _check_amount(len(items), self.mincount, self.maxcount, path, faults)
        taken: list[str] = []
        for place, item in enumerate(items[:_MOST_ELEMENTS]):
            here = f"{path}[{place}]"
            if not isinstance(item, str):
                faults.mistype(here, "a string")
                continue
            reason = fault(item)
            if reason is None and self.values and not any(expression(one).fullmatch(item) for one in self.values):
                reason = "does not match the account's policy"
            faults.refuse(here, reason)
            taken.append(item)
        return tuple(taken)


class TypedRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of one object identifier in a typed map; if `static`, `value_format` is the value."""

    value_type: ValueType
    static: bool = False
    value_format: str = ""
    mincount: int = 0
    maxcount: int = 1

    def check(self, path: str, faults: Faults) -> None:
        """Check the rule itself when it is stored."""
        _check_counts(self.mincount, self.maxcount, path, faults)
        if self.static:
            encode(self.value_type, self.value_format, f"{path}.value_format", faults)
        elif self.value_format:
            _check_expression(self.value_format, f"{path}.value_format", faults)

    def take(self, oid: str, values: list[tuple[str, Any]], path: str, faults: Faults) -> list[Typed]:
        """Return what is certified of the (path, value) pairs sent under `oid`."""
        if self.static:
            own = self._static_value()
            for here, value in values:
                if value != own:
                    faults.refuse(here, "is set by the account's policy and must not be sent with another value")
            return [Typed(oid, encode(self.value_type, own, path, faults))]
        _check_amount(
            len(values), self.mincount, self.maxcount, f"{path}[{oid}]" if not values else values[-1][0], faults
        )
        taken: list[Typed] = []
        for here, value in values[:_MOST_ELEMENTS]:
            encoded = encode(self.value_type, value, here, faults)
            written = "" if value is None else str(value)
            if self.value_format and not expression(self.value_format).fullmatch(written):
                faults.refuse(here, "does not match the account's policy")
            taken.append(Typed(oid, encoded))
        return taken

    def _static_value(self) -> Any:
        if self.value_type == ValueType.INTEGER and self.value_format.lstrip("-").isdigit():
            return int(self.value_format)
        return None if self.value_type == ValueType.NIL else self.value_format


_STRING_TAGS = {ValueType.IA5STRING: 0x16, ValueType.PRINTABLESTRING: 0x13, ValueType.UTF8STRING: 0x0C}


def encode(kind: ValueType, value: Any, path: str, faults: Faults) -> bytes:
    """Return a typed value as DER, or an empty string after noting the fault; DER comes as base64."""
    if kind == ValueType.NIL:
        if value is not None:
            faults.refuse(path, "must be null")
        return b"\x05\x00"
    if kind == ValueType.INTEGER:
        number = int(value) if isinstance(value, str) and value.lstrip("-").isdigit() and len(value) < 80 else value
        if isinstance(number, bool) or not isinstance(number, int):
            faults.mistype(path, "an integer")
            return b""
        if number.bit_length() > 256:
            faults.refuse(path, "must have at most 256 bits")
        return der.integer(number)
    if not isinstance(value, str):
        faults.mistype(path, "a string")
        return b""
    if kind == ValueType.DER:
        return _encoded(value, path, faults)
    reason = text.fault_of_text(value, 256)
    if reason is None and kind == ValueType.PRINTABLESTRING and not text.is_printable_string(value):
        reason = "has characters that a PrintableString cannot hold"
    if reason is None and kind == ValueType.IA5STRING and not value.isascii():
        reason = "has characters that an IA5String cannot hold"
    faults.refuse(path, reason)
    return der.element(_STRING_TAGS[kind], value.encode("utf-8", "replace"))


def _encoded(value: str, path: str, faults: Faults) -> bytes:
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    # Exactly one element with a definite, minimal length; what is inside is the sender's business.
    if len(content) < 2 or content[1] == 0x80 or der.element(content[0], _content(content)) != content:
        faults.refuse(path, "must be one DER element in base64")
        return b""
    return content


def _content(encoded: bytes) -> bytes:
    return encoded[2:] if encoded[1] < 0x80 else encoded[2 + (encoded[1] & 0x7F) :]


_expressions: dict[str, Any] = {}


def expression(pattern: str) -> Any:
    """Return a compiled expression; compiled once, when its policy is loaded."""
    found = _expressions.get(pattern)
    if found is None:
        if len(_expressions) > 4096:
            _expressions.clear()
        found = _expressions[pattern] = re2.compile(pattern, _RE2_OPTIONS)
    return found


def _check_expression(pattern: str, path: str, faults: Faults) -> None:
    if len(pattern) > _MOST_EXPRESSION:
        faults.refuse(path, f"an expression has at most {_MOST_EXPRESSION} characters")
        return
    try:
        expression(pattern)
    except re2.error as error:
        faults.refuse(path, f"is not an RE2 expression: {error}")


def _check_counts(least: int, most: int, path: str, faults: Faults) -> None:
    if not 0 <= least <= most <= _MOST_ELEMENTS:
        faults.refuse(path, f"needs 0 ≤ mincount ≤ maxcount ≤ {_MOST_ELEMENTS}")


def _check_amount(amount: int, least: int, most: int, path: str, faults: Faults) -> None:
    if amount > most:
        faults.refuse(path, "is forbidden by the account's policy" if most == 0 else f"at most {most} are allowed")
    elif amount < least:
        faults.refuse(path, "is required" if least == 1 else f"at least {least} are required")
