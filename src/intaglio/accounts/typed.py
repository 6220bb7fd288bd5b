"""Typed maps: values under object identifiers, whose encoding the policy says (`extra_attributes`, `other_names`)."""

import re
from enum import StrEnum
from typing import Any

import msgspec

from intaglio.accounts.rules import (
    FORBIDDEN,
    MOST_ELEMENTS,
    STATIC,
    Faults,
    check_amount,
    check_counts,
    check_expression,
    fits,
)
from intaglio.pki import der, text
from intaglio.pki.subject import Typed

# One way to write each number: nothing is certified in another form than it was sent in.
_DECIMAL = re.compile(r"\A(?:0|-?[1-9][0-9]{0,77})\Z")
_HEX = re.compile(r"\A(?:[0-9A-Fa-f]{2})+\Z")
_MOST_INTEGER_BITS = 256
_MOST_STRING = 256
_MOST_DER = 1024
# Upper bounds in characters, where attributes of names have one that is lower: title, telephoneNumber (RFC 5280
# Appendix A.1, X.520 Annex C).
_BOUNDS = {"2.5.4.12": 64, "2.5.4.20": 32}


class ValueType(StrEnum):
    """How the value of a typed map is encoded."""

    IA5STRING = "IA5STRING"
    PRINTABLESTRING = "PRINTABLESTRING"
    UTF8STRING = "UTF8STRING"
    INTEGER = "INTEGER"
    DER = "DER"
    NIL = "NIL"


STRING_TYPES = frozenset({ValueType.IA5STRING, ValueType.PRINTABLESTRING, ValueType.UTF8STRING})
_STRING_TAGS = {ValueType.IA5STRING: 0x16, ValueType.PRINTABLESTRING: 0x13, ValueType.UTF8STRING: 0x0C}


class TypedRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of one object identifier in a typed map; if `static`, `value_format` is the value."""

    value_type: ValueType
    static: bool = False
    value_format: str = ""
    mincount: int = 0
    maxcount: int = 1
    mixed_scripts: bool = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is certified and nothing refused when nothing is sent."""
        return not self.static and self.mincount == 0

    def check(self, path: str, faults: Faults) -> None:
        """Check the rule itself when it is stored."""
        check_counts(self.mincount, self.maxcount, path, faults)
        if self.static and self.value_type == ValueType.NIL and self.value_format:
            faults.refuse(f"{path}.value_format", "must be empty: NIL has no value")
        elif self.static:
            check_value(self.value_type, self._static_value(), f"{path}.value_format", faults)
        elif self.value_format:
            check_expression(self.value_format, f"{path}.value_format", faults)

    def take(self, oid: str, values: list[tuple[str, Any]], path: str, faults: Faults) -> list[Typed]:
        """Return what is certified of the (path, value) pairs sent under `oid`."""
        if self.static:
            return self._take_static(oid, values, path, faults)
        where = values[-1][0] if values else f"{path}[{oid}]"
        check_amount(len(values), self.mincount, self.maxcount, where, faults)
        taken: list[Typed] = []
        for here, value in values[:MOST_ELEMENTS]:
            encoded = encode(self.value_type, value, here, faults, mixed_scripts=self.mixed_scripts)
            if encoded is None:
                continue
            written = "" if value is None else str(value)
            faults.refuse(here, fault_of_length(oid, written))
            if self.value_format and not fits(self.value_format, written):
                faults.refuse(here, "does not match the account's policy")
            typed = Typed(oid, encoded)
            if typed in taken:
                faults.refuse(here, "is sent twice")
            taken.append(typed)
        return taken

    def _take_static(self, oid: str, values: list[tuple[str, Any]], path: str, faults: Faults) -> list[Typed]:
        own = encode(self.value_type, self._static_value(), path, faults) or b""
        for place, (here, value) in enumerate(values):
            if place or encode(self.value_type, value, here, faults) != own:
                faults.refuse(here, STATIC)
        return [Typed(oid, own)]

    def _static_value(self) -> str | None:
        return None if self.value_type == ValueType.NIL else self.value_format


def take_all(rules: dict[str, TypedRule], sent: Any, path: str, faults: Faults) -> tuple[Typed, ...]:
    """Return what is certified of a list of `{"type": OID, "value": ...}`, in the order of the policy."""
    if not rules and sent is None:
        return ()
    by_oid: dict[str, list[tuple[str, Any]]] = {oid: [] for oid in rules}
    if sent is not None and not isinstance(sent, list):
        faults.mistype(path, "a list of objects with type and value")
        return ()
    for place, item in enumerate(sent or []):
        here = f"{path}[{place}]"
        if not isinstance(item, dict) or not isinstance(item.get("type"), str) or item.keys() - {"type", "value"}:
            faults.mistype(here, "an object with type and value")
        elif item["type"] not in rules:
            faults.refuse(here, FORBIDDEN)
        else:
            by_oid[item["type"]].append((here, item.get("value")))
    return tuple(typed for oid, rule in rules.items() for typed in rule.take(oid, by_oid[oid], path, faults))


def fault_of_length(oid: str, written: str) -> str | None:
    """Return what is wrong with the length of an attribute's value."""
    most = _BOUNDS.get(oid)
    return None if most is None or len(written) <= most else f"must have at most {most} characters"


def check_value(kind: ValueType, value: str | None, path: str, faults: Faults) -> None:
    """Note what is wrong with a value that a policy sets: of the wrong type is as bad as wrong there."""
    wrong = Faults()
    encode(kind, value, "", wrong)
    for reason in (wrong.mistyped | wrong.refused).values():
        faults.refuse(path, reason)


def encode(kind: ValueType, value: Any, path: str, faults: Faults, *, mixed_scripts: bool = True) -> bytes | None:
    """Return a typed value as DER, or None after noting the fault.

    INTEGER is a JSON integer or decimal digits, DER comes as hexadecimal digits, NIL as null or not at all.
    """
    if kind == ValueType.NIL:
        if value is not None:
            faults.mistype(path, "null")
            return None
        return b"\x05\x00"
    if kind == ValueType.INTEGER:
        return _integer(value, path, faults)
    if not isinstance(value, str):
        faults.mistype(path, "a string")
        return None
    if kind == ValueType.DER:
        return _encoded(value, path, faults)
    return _string(kind, value, path, faults, mixed_scripts=mixed_scripts)


def _string(kind: ValueType, value: str, path: str, faults: Faults, *, mixed_scripts: bool) -> bytes | None:
    reason = text.fault_of_text(value, _MOST_STRING) or (None if mixed_scripts else text.fault_of_mixture(value))
    if reason is None and kind == ValueType.PRINTABLESTRING and not text.is_printable_string(value):
        reason = "has characters that a PrintableString cannot hold"
    if reason is None and kind == ValueType.IA5STRING and not value.isascii():
        reason = "has characters that an IA5String cannot hold"
    if reason is not None:
        faults.refuse(path, reason)
        return None
    return der.element(_STRING_TAGS[kind], value.encode())


def _integer(value: Any, path: str, faults: Faults) -> bytes | None:
    number = int(value) if isinstance(value, str) and _DECIMAL.match(value) else value
    if isinstance(number, bool) or not isinstance(number, int):
        faults.mistype(path, "an integer")
        return None
    if number.bit_length() > _MOST_INTEGER_BITS:
        faults.refuse(path, f"must have at most {_MOST_INTEGER_BITS} bits")
        return None
    return der.integer(number)


def _encoded(value: str, path: str, faults: Faults) -> bytes | None:
    content = bytes.fromhex(value) if _HEX.match(value) else b""
    if not der.is_element(content) or len(content) > _MOST_DER:
        faults.refuse(path, f"must be one DER element of at most {_MOST_DER} octets in hexadecimal digits")
        return None
    return content
