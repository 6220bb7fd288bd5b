"""Holding a request against a policy: what is certified, or everything that is refused, field by field."""

import re
from datetime import date
from typing import Any

import msgspec
from cryptography import x509

from intaglio.accounts.additions import take_custom
from intaglio.accounts.fields import (
    DN_FIELDS,
    DN_STRINGS,
    FAULTS,
    SAN_FIELDS,
    SAN_LISTS,
    SDA_FIELDS,
    SDA_LISTS,
    SDA_STRINGS,
)
from intaglio.accounts.policy import BRANCHES, SIGNATURE_FIELDS, Policy
from intaglio.accounts.purposes import take_usages
from intaglio.accounts.rules import FORBIDDEN, Faults, ListRule, Presence, StringRule, take_object
from intaglio.accounts.typed import take_all
from intaglio.errors import ContentRefused, Malformed
from intaglio.pki import naming, text
from intaglio.pki.extensions import Custom, Purposes, Statements, Template
from intaglio.pki.issuer import Extensions
from intaglio.pki.profiles import key_usage
from intaglio.pki.subject import (
    Subject,
    SubjectAlternatives,
    SubjectDirectory,
    alternatives,
    directory_attributes,
)

_DATE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_FORBIDDEN = StringRule(Presence.FORBIDDEN)
_NONE = ListRule()
_NAMES = frozenset({"subject_dn", "subject_da", "san"})


class Certified(msgspec.Struct, frozen=True):
    """What a request and a policy together have certified; None where the profile's own stays, or nothing is.

    `usages` are named as profiles name them. `signature` is what the issuer's signature must be, or None in each place.
    """

    subject: Subject
    directory: SubjectDirectory | None
    alternatives: SubjectAlternatives | None
    usages: frozenset[str] | None = None
    purposes: Purposes | None = None
    statements: Statements | None = None
    template: Template | None = None
    custom: tuple[Custom, ...] = ()
    signature: tuple[str | None, str | None] = (None, None)

    def extensions(self) -> Extensions:
        """Return what goes into the certificate beside the subject, as an issuer takes it."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.directory is not None:
            found.append((directory_attributes(self.directory), False))
        if self.alternatives is not None:
            found.append((alternatives(self.alternatives), False))
        if self.usages is not None:
            found.append((key_usage(self.usages), True))
        if self.purposes is not None:
            found.append((self.purposes.extension(), self.purposes.critical))
        if self.statements is not None:
            found.append((self.statements.extension(), False))
        if self.template is not None:
            found.append((self.template.extension(), self.template.critical))
        found += [(custom.extension(), custom.critical) for custom in self.custom]
        return found

    def check_signature(self, signs_with: tuple[str, str]) -> None:
        """Raise `ContentRefused` if the certificate is to be signed in another way than its issuer signs."""
        faults = {
            f"signature.{field}": f"must be {does}: so certificates are signed here"
            for field, wanted, does in zip(SIGNATURE_FIELDS, self.signature, signs_with, strict=True)
            if wanted is not None and wanted != does
        }
        if faults:
            raise ContentRefused("The certificate cannot be signed so.", faults)


def apply(policy: Policy, request: Any, *, today: date) -> Certified:
    """Return what is certified for a decoded JSON request.

    Raises `Malformed` naming every field of a wrong JSON type, else `ContentRefused` naming every field refused.
    """
    faults = Faults()
    if request is None:
        request = {}
    if not isinstance(request, dict):
        raise Malformed("The identity is a JSON object.", {"body": "must be an object"})
    for key in request.keys() - BRANCHES:
        faults.refuse(key, "is not known")
    dn = take_object(request.get("subject_dn"), "subject_dn", DN_FIELDS, faults)
    da = take_object(request.get("subject_da"), "subject_da", SDA_FIELDS, faults)
    san = take_object(request.get("san"), "san", SAN_FIELDS, faults)
    named = _subject(policy, dn, faults)
    certified = Certified(
        named,
        _directory(policy, da, today, faults) if da or "subject_da" not in policy.silent else None,
        _with_email(_alternatives(policy, san, faults) if san or "san" not in policy.silent else None, named),
    )
    # Most policies say nothing of the rest, and most requests do not, either.
    if policy.further or request.keys() - _NAMES:
        certified = msgspec.structs.replace(certified, **_further(policy, request, faults))
    if faults.mistyped:
        raise Malformed("Some fields are of the wrong type.", faults.mistyped | faults.refused)
    subject = certified.subject
    _check_naming(policy, subject, faults)
    if not faults.refused and not (subject.attributes or subject.organizational_units or subject.extra):
        faults.refuse("subject_dn", "is required: nothing would be certified")
    if faults.refused:
        raise ContentRefused("The identity is refused by the account's policy.", faults.refused)
    return certified


def _check_naming(policy: Policy, subject: Subject, faults: Faults) -> None:
    profile = policy.profile
    if profile.naming is None:
        return
    semantics = None if profile.statements is None else profile.statements.semantics
    for field, reason in naming.faults(profile.naming, semantics, subject.attributes):
        # What is refused already has a reason that is nearer.
        if f"subject_dn.{field}" not in faults.refused:
            faults.refuse(f"subject_dn.{field}", reason)


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
    # Which dates there are is seen below; there is no text in it to look at.
    written = StringRule(presence, mixed_scripts=True).take(value, path, faults, _no_fault)
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


def _with_email(found: SubjectAlternatives | None, subject: Subject) -> SubjectAlternatives | None:
    """Return the alternative names with the subject's e-mail address, which must be there, too (RFC 5280 §4.2.1.6)."""
    email = subject.attributes.get("email")
    if email is None or (found is not None and email in found.emails):
        return found
    found = found or SubjectAlternatives()
    return msgspec.structs.replace(found, emails=(*found.emails, email))


def _further(policy: Policy, request: dict[str, Any], faults: Faults) -> dict[str, Any]:
    """Return what is certified beside names, by the names of `Certified`'s fields."""
    found: dict[str, Any] = {}
    profile = policy.profile

    def sent(branch: str, rule: object, *, nothing: Any) -> Any:
        """Return what is sent of a branch; without a rule for it, all is refused but `nothing` of its type."""
        value = request.get(branch)
        if rule is None and value is not None and value != nothing:
            faults.refuse(branch, FORBIDDEN)
        return value

    value = sent("key_usages", policy.usages, nothing={})
    if policy.usages is not None:
        found["usages"] = take_usages(policy.usages, value, "key_usages", faults, profile)
    value = sent("extended_key_usages", policy.purposes, nothing=[])
    if policy.purposes is not None:
        found["purposes"] = policy.purposes.take(value, "extended_key_usages", faults, profile)
    value = sent("qualified_statements", policy.statements, nothing={})
    if policy.statements is not None:
        found["statements"] = policy.statements.take(value, "qualified_statements", faults, profile)
    value = sent("ms_extension_template", policy.template, nothing={})
    if policy.template is not None:
        found["template"] = policy.template.take(value, "ms_extension_template", faults)
    found["custom"] = take_custom(policy.custom, request.get("custom_extensions"), "custom_extensions", faults)
    found["signature"] = _signature(policy, request.get("signature"), faults)
    return found


def _signature(policy: Policy, value: Any, faults: Faults) -> tuple[str | None, str | None]:
    sent = take_object(value, "signature", SIGNATURE_FIELDS.keys(), faults)
    taken = []
    for field in SIGNATURE_FIELDS:
        rule, path = policy.signature.get(field), f"signature.{field}"
        if rule is not None:
            taken.append(rule.take(sent.get(field), path, faults))
        else:
            if sent.get(field) is not None:
                faults.refuse(path, FORBIDDEN)
            taken.append(None)
    return taken[0], taken[1]
