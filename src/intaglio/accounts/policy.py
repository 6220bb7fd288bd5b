"""A validation policy: which fields an account may have certified, and what stands in them.

What has no rule is forbidden. All faults of a request are reported together, each under its field.
"""

from datetime import date
from functools import partial
from typing import Any

import msgspec

from intaglio.accounts.rules import Fault, Faults, ListRule, Presence, StringRule, TypedRule
from intaglio.errors import ContentRefused, Malformed
from intaglio.pki import text
from intaglio.pki.subject import (
    ATTRIBUTES,
    COUNTRY_ATTRIBUTES,
    Subject,
    SubjectAlternatives,
    SubjectDirectory,
    Typed,
)

_STRINGS = frozenset(ATTRIBUTES) - {"organizational_unit"}
_SAN_LISTS: dict[str, Fault] = {
    "emails": text.fault_of_email,
    "dns_names": text.fault_of_dns_name,
    "uris": text.fault_of_uri,
    "ip_addresses": text.fault_of_ip_address,
}
_SDA_LISTS = ("country_of_citizenship", "country_of_residence")
_BRANCHES = {"subject_dn", "subject_da", "san"}
# Known to the contract, and not yet certified by anything here: refused by name.
_OTHER_BRANCHES = {
    "extended_key_usages",
    "key_usages",
    "qualified_statements",
    "ms_extension_template",
    "custom_extensions",
    "signature",
}
_PASSED_ON = {"validity", "public_key"}


class Validity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a certificate may live, in seconds; never beyond ten minutes."""

    secondsmin: int = 600
    secondsmax: int = 600
    not_before_negative_skew: int = 0
    not_before_positive_skew: int = 0


class PublicKeyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that identities get."""

    key_type: str = "RSA"
    allowed_lengths: tuple[int, ...] = (2048,)


class Policy(msgspec.Struct, frozen=True):
    """A policy that was checked: its rules by branch and field, and the document it was read from."""

    document: dict[str, Any]
    strings: dict[str, StringRule]
    units: ListRule
    extra: dict[str, TypedRule]
    directory_strings: dict[str, StringRule]
    directory_lists: dict[str, ListRule]
    date_of_birth: Presence
    directory_extra: dict[str, TypedRule]
    alternatives: dict[str, ListRule]
    other_names: dict[str, TypedRule]


class Certified(msgspec.Struct, frozen=True):
    """What a request and a policy together have certified."""

    subject: Subject
    directory: SubjectDirectory | None
    alternatives: SubjectAlternatives | None


def fault_of(field: str) -> Fault:
    """Return the check of a subject attribute's text, policy aside."""
    if field in COUNTRY_ATTRIBUTES:
        return text.fault_of_country
    if field == "email":
        return text.fault_of_email
    if field == "serial_number":
        return _fault_of_printable
    return partial(_fault_of_text, most=ATTRIBUTES[field][1] if field in ATTRIBUTES else 128)


def _fault_of_text(value: str, most: int) -> str | None:
    return text.fault_of_text(value, most)


def _fault_of_printable(value: str) -> str | None:
    reason = text.fault_of_text(value, 64)
    return reason or (None if text.is_printable_string(value) else "has characters that a PrintableString cannot hold")


def _fault_of_gender(value: str) -> str | None:
    return None if value in {"M", "F", "m", "f"} else "must be M, F, m or f"


_FAULTS: dict[str, Fault] = {field: fault_of(field) for field in ATTRIBUTES}
_PLACE_FAULT: Fault = partial(_fault_of_text, most=128)
_SDA_STRINGS: dict[str, Fault] = {"gender": _fault_of_gender, "place_of_birth": _PLACE_FAULT}

_FORBIDDEN = StringRule(Presence.FORBIDDEN)
_NONE = ListRule()


# Storing ---------------------------------------------------------------------------------------------


def load(document: Any) -> Policy:
    """Return the policy of a JSON document; raises `ContentRefused` naming every place that is wrong."""
    faults = Faults()
    if not isinstance(document, dict):
        raise ContentRefused("A policy is a JSON object.", {"policy": "must be an object"})
    for key in sorted(set(document) - _BRANCHES - _PASSED_ON):
        known = "cannot be allowed yet" if key in _OTHER_BRANCHES else "is not known"
        faults.refuse(key, known)
    dn = _branch(document, "subject_dn", {*ATTRIBUTES, "extra_attributes"}, faults)
    da = _branch(document, "subject_da", {*_SDA_STRINGS, *_SDA_LISTS, "date_of_birth", "extra_attributes"}, faults)
    san = _branch(document, "san", {*_SAN_LISTS, "other_names"}, faults)
    _convert(document.get("public_key", {}), PublicKeyRule, "public_key", faults)
    validity = _convert(document.get("validity", {}), Validity, "validity", faults)
    if validity is not None and not 0 < validity.secondsmin <= validity.secondsmax <= 600:
        faults.refuse("validity", "needs 0 < secondsmin ≤ secondsmax ≤ 600")
    policy = Policy(
        document=document,
        strings=_strings(dn, "subject_dn", {field: _FAULTS[field] for field in _STRINGS}, faults),
        units=_lists(dn, "subject_dn", {"organizational_unit": _FAULTS["organizational_unit"]}, faults).get(
            "organizational_unit", _NONE
        ),
        extra=_typed(dn, "subject_dn.extra_attributes", "extra_attributes", faults),
        directory_strings=_strings(da, "subject_da", _SDA_STRINGS, faults),
        directory_lists=_lists(da, "subject_da", dict.fromkeys(_SDA_LISTS, text.fault_of_country), faults),
        date_of_birth=_convert(da.get("date_of_birth", "FORBIDDEN"), Presence, "subject_da.date_of_birth", faults)
        or Presence.FORBIDDEN,
        directory_extra=_typed(da, "subject_da.extra_attributes", "extra_attributes", faults),
        alternatives=_lists(san, "san", _SAN_LISTS, faults),
        other_names=_typed(san, "san.other_names", "other_names", faults),
    )
    if policy.date_of_birth == Presence.STATIC:
        faults.refuse("subject_da.date_of_birth", "cannot be STATIC")
    for oid, rule in policy.extra.items():
        if rule.value_type not in {"IA5STRING", "PRINTABLESTRING", "UTF8STRING"}:
            faults.refuse(f"subject_dn.extra_attributes.{oid}", "a name holds strings only")
    if faults.refused:
        raise ContentRefused("The policy cannot be used.", faults.refused)
    return policy


def _branch(document: dict[str, Any], key: str, known: set[str], faults: Faults) -> dict[str, Any]:
    branch = document.get(key, {})
    if not isinstance(branch, dict):
        faults.refuse(key, "must be an object")
        return {}
    for field in sorted(set(branch) - known):
        faults.refuse(f"{key}.{field}", "is not known")
    return branch


def _convert(value: Any, kind: Any, path: str, faults: Faults) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        faults.refuse(path, str(error))
        return None


def _strings(branch: dict[str, Any], path: str, fields: dict[str, Fault], faults: Faults) -> dict[str, StringRule]:
    return _rules(branch, path, fields, StringRule, faults)


def _lists(branch: dict[str, Any], path: str, fields: dict[str, Fault], faults: Faults) -> dict[str, ListRule]:
    return _rules(branch, path, fields, ListRule, faults)


def _rules(branch: dict[str, Any], path: str, fields: dict[str, Fault], kind: Any, faults: Faults) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, fault in fields.items():
        if field in branch:
            rule = _convert(branch[field], kind, f"{path}.{field}", faults)
            if rule is not None:
                rule.check(f"{path}.{field}", faults, fault)
                found[field] = rule
    return found


def _typed(branch: dict[str, Any], path: str, field: str, faults: Faults) -> dict[str, TypedRule]:
    rules = branch.get(field, {})
    if not isinstance(rules, dict):
        faults.refuse(path, "must be an object keyed by object identifier")
        return {}
    found: dict[str, TypedRule] = {}
    for oid, value in rules.items():
        here = f"{path}.{oid}"
        faults.refuse(here, text.fault_of_oid(oid))
        rule = _convert(value, TypedRule, here, faults)
        if rule is not None:
            rule.check(here, faults)
            found[oid] = rule
    return found


# Applying --------------------------------------------------------------------------------------------


def apply(policy: Policy, request: Any, *, today: date) -> Certified:
    """Return what is certified for a decoded JSON request.

    Raises `Malformed` naming every field of a wrong JSON type, else `ContentRefused` naming every field refused.
    """
    faults = Faults()
    if request is None:
        request = {}
    if not isinstance(request, dict):
        raise Malformed("The identity is a JSON object.", {"body": "must be an object"})
    for key in request.keys() - _BRANCHES:
        faults.refuse(key, "is not allowed by the account's policy" if key in _OTHER_BRANCHES else "is not known")
    dn = _sent(request, "subject_dn", {*ATTRIBUTES, "extra_attributes"}, faults)
    da = _sent(request, "subject_da", {*_SDA_STRINGS, *_SDA_LISTS, "date_of_birth", "extra_attributes"}, faults)
    san = _sent(request, "san", {*_SAN_LISTS, "other_names"}, faults)
    certified = Certified(
        _subject(policy, dn, faults), _directory(policy, da, today, faults), _alternatives(policy, san, faults)
    )
    if faults.mistyped:
        raise Malformed("Some fields are of the wrong type.", faults.mistyped | faults.refused)
    if not certified.subject.attributes and not certified.subject.organizational_units and not certified.subject.extra:
        faults.refuse("subject_dn", "is required: nothing would be certified")
    if faults.refused:
        raise ContentRefused("The identity is refused by the account's policy.", faults.refused)
    return certified


def _sent(request: dict[str, Any], key: str, known: set[str], faults: Faults) -> dict[str, Any]:
    branch = request.get(key)
    if branch is None:
        return {}
    if not isinstance(branch, dict):
        faults.mistype(key, "an object")
        return {}
    for field in branch.keys() - known:
        faults.refuse(f"{key}.{field}", "is not known")
    return branch


def _subject(policy: Policy, dn: dict[str, Any], faults: Faults) -> Subject:
    attributes: dict[str, str] = {}
    for field in policy.strings.keys() | (dn.keys() & _STRINGS):
        rule = policy.strings.get(field, _FORBIDDEN)
        value = rule.take(dn.get(field), f"subject_dn.{field}", faults, _FAULTS[field])
        if value is not None:
            attributes[field] = value
    units = policy.units.take(
        dn.get("organizational_unit"), "subject_dn.organizational_unit", faults, _FAULTS["organizational_unit"]
    )
    extra = _typed_values(policy.extra, dn.get("extra_attributes"), "subject_dn.extra_attributes", faults)
    return Subject(attributes, units, extra)


def _directory(policy: Policy, da: dict[str, Any], today: date, faults: Faults) -> SubjectDirectory | None:
    taken: dict[str, Any] = {}
    for field, fault in _SDA_STRINGS.items():
        rule = policy.directory_strings.get(field, _FORBIDDEN)
        taken[field] = rule.take(da.get(field), f"subject_da.{field}", faults, fault)
    for field in _SDA_LISTS:
        rule_of_list = policy.directory_lists.get(field, _NONE)
        taken[field] = rule_of_list.take(da.get(field), f"subject_da.{field}", faults, text.fault_of_country)
    taken["date_of_birth"] = _date_of_birth(policy.date_of_birth, da.get("date_of_birth"), today, faults)
    taken["extra"] = _typed_values(
        policy.directory_extra, da.get("extra_attributes"), "subject_da.extra_attributes", faults
    )
    return SubjectDirectory(**taken) if any(taken.values()) else None


def _date_of_birth(presence: Presence, value: Any, today: date, faults: Faults) -> date | None:
    path = "subject_da.date_of_birth"
    written = StringRule(presence).take(value, path, faults, _no_fault)
    if written is None:
        return None
    try:
        born = date.fromisoformat(written) if len(written) == 10 else None
    except ValueError:
        born = None
    if born is None or not date(1850, 1, 1) <= born <= today:
        faults.refuse(path, "must be a date as YYYY-MM-DD, not in the future")
        return None
    return born


def _no_fault(value: str) -> str | None:
    del value
    return None


def _alternatives(policy: Policy, san: dict[str, Any], faults: Faults) -> SubjectAlternatives | None:
    taken: dict[str, Any] = {
        field: policy.alternatives.get(field, _NONE).take(san.get(field), f"san.{field}", faults, fault)
        for field, fault in _SAN_LISTS.items()
    }
    taken["other_names"] = _typed_values(policy.other_names, san.get("other_names"), "san.other_names", faults)
    return SubjectAlternatives(**taken) if any(taken.values()) else None


def _typed_values(rules: dict[str, TypedRule], sent: Any, path: str, faults: Faults) -> tuple[Typed, ...]:
    by_oid: dict[str, list[tuple[str, Any]]] = {oid: [] for oid in rules}
    if sent is not None and not isinstance(sent, list):
        faults.mistype(path, "a list of objects with type and value")
        return ()
    for place, item in enumerate(sent or []):
        here = f"{path}[{place}]"
        if not isinstance(item, dict) or not isinstance(item.get("type"), str) or item.keys() - {"type", "value"}:
            faults.mistype(here, "an object with type and value")
        elif item["type"] not in rules:
            faults.refuse(here, "is forbidden by the account's policy")
        else:
            by_oid[item["type"]].append((here, item.get("value")))
    return tuple(typed for oid, rule in rules.items() for typed in rule.take(oid, by_oid[oid], path, faults))
