"""The rules of `ms_extension_template` and `custom_extensions`: what is added to a certificate as it is."""

from collections.abc import Mapping
from typing import Any

import msgspec

from intaglio.accounts.rules import (
    FORBIDDEN,
    MOST_ELEMENTS,
    STATIC,
    UNLIKE,
    Faults,
    IntegerRule,
    Presence,
    StringRule,
    check_expression,
    fits,
    take_object,
)
from intaglio.accounts.typed import ValueType, check_value, encode
from intaglio.pki import text
from intaglio.pki.extensions import Custom, Template, is_reserved

# [MS-WCCE] §2.2.2.7.7.2
_MOST_VERSION = (1 << 32) - 1
_NIL = "NIL"


class TemplateRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of Microsoft's certificate template."""

    template_id: StringRule
    major_version: IntegerRule = IntegerRule(Presence.FORBIDDEN)
    minor_version: IntegerRule = IntegerRule(Presence.FORBIDDEN)
    critical: bool = False

    def check(self, path: str, faults: Faults) -> None:
        """Check the rule itself when it is stored."""
        self.template_id.check(f"{path}.template_id", faults, text.fault_of_oid)
        self.major_version.check(f"{path}.major_version", faults, _MOST_VERSION)
        self.minor_version.check(f"{path}.minor_version", faults, _MOST_VERSION)
        always = {Presence.REQUIRED, Presence.STATIC}
        if self.minor_version.presence in always and self.major_version.presence not in always:
            faults.refuse(f"{path}.major_version", "is needed wherever there is a minor version")

    def take(self, value: Any, path: str, faults: Faults) -> Template | None:
        """Return what is certified for `value` (None: not sent), or None where that is nothing."""
        sent = take_object(value, path, {"id", "major_version", "minor_version"}, faults)
        oid = self.template_id.take(sent.get("id"), f"{path}.id", faults, text.fault_of_oid)
        if oid is None and all(value is None for value in sent.values()):
            return None
        major = self.major_version.take(sent.get("major_version"), f"{path}.major_version", faults)
        minor = self.minor_version.take(sent.get("minor_version"), f"{path}.minor_version", faults)
        if oid is None:
            faults.refuse(f"{path}.id", "is required with a version")
            return None
        if major is None and minor is not None:
            faults.refuse(f"{path}.major_version", "is required with a minor version")
        return Template(oid, major, minor, self.critical)


class CustomRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of one extension of the account's own; for STATIC, `value_format` is the value."""

    presence: Presence
    value_type: ValueType
    value_format: str = ""
    critical: bool = False
    mixed_scripts: bool = False

    def check(self, oid: str, path: str, faults: Faults) -> None:
        """Check the rule itself when it is stored."""
        if is_reserved(oid):
            faults.refuse(path, "has a place of its own, or belongs to the profile")
        if self.presence == Presence.STATIC:
            check_value(self.value_type, self._value(self.value_format), f"{path}.value_format", faults)
        elif self.value_format:
            check_expression(self.value_format, f"{path}.value_format", faults)

    def take(self, oid: str, value: Any, path: str, faults: Faults) -> Custom | None:
        """Return what is certified for `value` (None: not sent)."""
        if self.presence == Presence.STATIC:
            own = encode(self.value_type, self._value(self.value_format), path, faults) or b""
            if value is not None and encode(self.value_type, self._value(value), path, faults) != own:
                faults.refuse(path, STATIC)
            return Custom(oid, self.critical, own)
        if not self.presence.admits(value, path, faults):
            return None
        encoded = encode(self.value_type, self._value(value), path, faults, mixed_scripts=self.mixed_scripts)
        if encoded is None:
            return None
        if self.value_format and not fits(self.value_format, str(value)):
            faults.refuse(path, UNLIKE)
        return Custom(oid, self.critical, encoded)

    def _value(self, value: Any) -> Any:
        # "NIL" is how clients send an extension that has no value, and nothing is how a policy may say so.
        return None if self.value_type == ValueType.NIL and value in (_NIL, "") else value


def take_custom(rules: Mapping[str, CustomRule], sent: Any, path: str, faults: Faults) -> tuple[Custom, ...]:
    """Return what is certified of `{OID: value}`, in the order of the policy."""
    if sent is not None and not isinstance(sent, dict):
        faults.mistype(path, "an object keyed by object identifier")
        return ()
    found: dict[str, Any] = sent or {}
    for oid in list(found.keys() - rules.keys())[:MOST_ELEMENTS]:
        faults.refuse(f"{path}.{oid}", FORBIDDEN)
    # To have no value is not to be missing.
    for oid in found.keys() & rules.keys():
        if found[oid] is None and rules[oid].value_type == ValueType.NIL:
            found = {**found, oid: _NIL}
    taken = (rule.take(oid, found.get(oid), f"{path}.{oid}", faults) for oid, rule in rules.items())
    return tuple(one for one in taken if one is not None)
