"""A validation policy: which fields an account may have certified, and what stands in them.

What has no rule is forbidden. All faults of a request are reported together, each under its field.
"""

import re
from datetime import date
from typing import Any

import msgspec

from intaglio.accounts.fields import (
    DN_STRINGS,
    FAULTS,
    SAN_LISTS,
    SDA_LISTS,
    SDA_STRINGS,
    fault_of_directory_attribute,
    fault_of_extra_attribute,
)
from intaglio.accounts.rules import MOST_ELEMENTS, Fault, Faults, ListRule, Presence, StringRule
from intaglio.accounts.typed import TypedRule, take_all
from intaglio.errors import ContentRefused, Malformed
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki import text
from intaglio.pki.subject import (
    ATTRIBUTES,
    Subject,
    SubjectAlternatives,
    SubjectDirectory,
)

_DATE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
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
    """The keys that identities get: the first of the allowed lengths."""

    key_type: str = "RSA"
    allowed_lengths: tuple[int, ...] = (2048,)


# What `public_key` can say, in the words of the contract.
_ALGORITHMS = {
    "RSA": {2048: KeyAlgorithm.RSA_2048, 3072: KeyAlgorithm.RSA_3072, 4096: KeyAlgorithm.RSA_4096},
    "ECDSA": {256: KeyAlgorithm.P_256, 384: KeyAlgorithm.P_384},
}


class Policy(msgspec.Struct, frozen=True):
    """A policy that was checked: its rules by branch and field, and the document it was read from."""

    # As it was stored, and with what holds where it says nothing.
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
    algorithm: KeyAlgorithm
    # The branches of which nothing is certified and nothing refused when nothing of them is sent.
    silent: frozenset[str] = frozenset()


class Certified(msgspec.Struct, frozen=True):
    """What a request and a policy together have certified."""

    subject: Subject
    directory: SubjectDirectory | None
    alternatives: SubjectAlternatives | None


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
    da = _branch(document, "subject_da", {*SDA_STRINGS, *SDA_LISTS, "date_of_birth", "extra_attributes"}, faults)
    san = _branch(document, "san", {*SAN_LISTS, "other_names"}, faults)
    keys = _convert(document.get("public_key", {}), PublicKeyRule, "public_key", faults) or PublicKeyRule()
    algorithm = _algorithm(keys, faults)
    validity = _convert(document.get("validity", {}), Validity, "validity", faults) or Validity()
    if not 0 < validity.secondsmin <= validity.secondsmax == 600:
        faults.refuse("validity", "needs 0 < secondsmin ≤ secondsmax = 600, which is what identities get")
    policy = Policy(
        document={
            **document,
            "validity": msgspec.to_builtins(validity),
            "public_key": {"key_type": keys.key_type, "allowed_lengths": list(keys.allowed_lengths)},
        },
        strings=_strings(dn, "subject_dn", {field: FAULTS[field] for field in DN_STRINGS}, faults),
        units=_lists(dn, "subject_dn", {"organizational_unit": FAULTS["organizational_unit"]}, faults).get(
            "organizational_unit", _NONE
        ),
        extra=_typed(dn, "subject_dn.extra_attributes", "extra_attributes", faults),
        directory_strings=_strings(da, "subject_da", SDA_STRINGS, faults),
        directory_lists=_lists(da, "subject_da", dict.fromkeys(SDA_LISTS, text.fault_of_country), faults),
        date_of_birth=_convert(da.get("date_of_birth", "FORBIDDEN"), Presence, "subject_da.date_of_birth", faults)
        or Presence.FORBIDDEN,
        directory_extra=_typed(da, "subject_da.extra_attributes", "extra_attributes", faults),
        alternatives=_lists(san, "san", SAN_LISTS, faults),
        other_names=_typed(san, "san.other_names", "other_names", faults),
        algorithm=algorithm,
    )
    if policy.date_of_birth == Presence.STATIC:
        faults.refuse("subject_da.date_of_birth", "cannot be STATIC")
    for oid, rule in policy.extra.items():
        faults.refuse(f"subject_dn.extra_attributes.{oid}", fault_of_extra_attribute(oid, rule.value_type))
    for oid in policy.directory_extra:
        faults.refuse(f"subject_da.extra_attributes.{oid}", fault_of_directory_attribute(oid))
    if faults.refused:
        raise ContentRefused("The policy cannot be used.", faults.refused)
    return msgspec.structs.replace(policy, silent=_silent(policy))


def _silent(policy: Policy) -> frozenset[str]:
    unsent = Faults()
    found = {"subject_da": _directory(policy, {}, date.max, unsent), "san": _alternatives(policy, {}, unsent)}
    refused = {path.partition(".")[0] for path in unsent.refused}
    return frozenset(branch for branch, certified in found.items() if certified is None and branch not in refused)


def _algorithm(rule: PublicKeyRule, faults: Faults) -> KeyAlgorithm:
    lengths = _ALGORITHMS.get(rule.key_type)
    if lengths is None:
        faults.refuse("public_key.key_type", f"must be one of {', '.join(_ALGORITHMS)}")
    elif not rule.allowed_lengths or not lengths.keys() >= set(rule.allowed_lengths):
        faults.refuse(
            "public_key.allowed_lengths",
            f"must be one or more of {', '.join(map(str, lengths))} for {rule.key_type}; identities get the first",
        )
    else:
        return lengths[rule.allowed_lengths[0]]
    return KeyAlgorithm.RSA_2048


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
    if len(found) > MOST_ELEMENTS:
        faults.refuse(path, f"at most {MOST_ELEMENTS} object identifiers can have a rule")
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
    da = _sent(request, "subject_da", {*SDA_STRINGS, *SDA_LISTS, "date_of_birth", "extra_attributes"}, faults)
    san = _sent(request, "san", {*SAN_LISTS, "other_names"}, faults)
    certified = Certified(
        _subject(policy, dn, faults),
        _directory(policy, da, today, faults) if da or "subject_da" not in policy.silent else None,
        _alternatives(policy, san, faults) if san or "san" not in policy.silent else None,
    )
    if faults.mistyped:
        raise Malformed("Some fields are of the wrong type.", faults.mistyped | faults.refused)
    subject = certified.subject
    if not faults.refused and not (subject.attributes or subject.organizational_units or subject.extra):
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
    for field in policy.strings.keys() | (dn.keys() & DN_STRINGS):
        rule = policy.strings.get(field, _FORBIDDEN)
        value = rule.take(dn.get(field), f"subject_dn.{field}", faults, FAULTS[field])
        if value is not None:
            attributes[field] = value
    units = policy.units.take(
        dn.get("organizational_unit"), "subject_dn.organizational_unit", faults, FAULTS["organizational_unit"]
    )
    extra = take_all(policy.extra, dn.get("extra_attributes"), "subject_dn.extra_attributes", faults)
    return Subject(attributes, units, extra)


def _directory(policy: Policy, da: dict[str, Any], today: date, faults: Faults) -> SubjectDirectory | None:
    taken: dict[str, Any] = {}
    for field, fault in SDA_STRINGS.items():
        rule = policy.directory_strings.get(field, _FORBIDDEN)
        taken[field] = rule.take(da.get(field), f"subject_da.{field}", faults, fault)
    for field in SDA_LISTS:
        rule_of_list = policy.directory_lists.get(field, _NONE)
        taken[field] = rule_of_list.take(da.get(field), f"subject_da.{field}", faults, text.fault_of_country)
    taken["date_of_birth"] = _date_of_birth(policy.date_of_birth, da.get("date_of_birth"), today, faults)
    taken["extra"] = take_all(policy.directory_extra, da.get("extra_attributes"), "subject_da.extra_attributes", faults)
    return SubjectDirectory(**taken) if any(taken.values()) else None


def _date_of_birth(presence: Presence, value: Any, today: date, faults: Faults) -> date | None:
    path = "subject_da.date_of_birth"
    written = StringRule(presence).take(value, path, faults, _no_fault)
    if written is None:
        return None
    try:
        # fromisoformat alone would also read a week date, 2020-W01-1.
        born = date.fromisoformat(written) if _DATE.match(written) else None
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
        for field, fault in SAN_LISTS.items()
    }
    taken["other_names"] = take_all(policy.other_names, san.get("other_names"), "san.other_names", faults)
    return SubjectAlternatives(**taken) if any(taken.values()) else None
