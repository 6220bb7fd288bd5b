"""A validation policy: which fields an account may have certified, and what stands in them.

What has no rule is forbidden. All faults of a document are reported together, each under its place.
"""

from datetime import timedelta
from functools import cached_property
from typing import Any

import msgspec

from intaglio.accounts.additions import CustomRule, TemplateRule
from intaglio.accounts.document import Document
from intaglio.accounts.fields import (
    DN_FIELDS,
    DN_STRINGS,
    FAULTS,
    SAN_FIELDS,
    SAN_LISTS,
    SDA_FIELDS,
    SDA_LISTS,
    SDA_STRINGS,
    fault_of_directory_attribute,
    fault_of_extra_attribute,
)
from intaglio.accounts.purposes import USAGES, PurposesRule, check_usages
from intaglio.accounts.rules import UNLIKE, Choice, Faults, ListRule, Presence, StringRule
from intaglio.accounts.statements import StatementsRule
from intaglio.accounts.typed import TypedRule
from intaglio.errors import ContentRefused
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki import text
from intaglio.pki.profiles import Profile
from intaglio.pki.subject import SMTP_UTF8_MAILBOX

# What a request can have; a policy says two things more, of every identity.
BRANCHES = frozenset(
    {
        "subject_dn",
        "subject_da",
        "san",
        "key_usages",
        "extended_key_usages",
        "qualified_statements",
        "ms_extension_template",
        "custom_extensions",
        "signature",
    }
)
_OF_EVERY_IDENTITY = {"validity", "public_key"}
# Below this, what is made is over before it can be used.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 60, 600
# How the issuers of this service can sign. Which of it one does is seen when it is asked to.
SIGNATURE_FIELDS = {"algorithm": ("RSA", "ECDSA"), "hash_algorithm": ("SHA-256", "SHA-384")}


class Validity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a certificate lives: `secondsmax` seconds, never beyond ten minutes.

    The other numbers bound what clients of other services may ask for; a request for an identity asks for no time.
    """

    secondsmin: int | None = None
    secondsmax: int = 600
    not_before_negative_skew: int = 0
    not_before_positive_skew: int = 0


class PublicKeyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that identities get: the first of the allowed lengths."""

    key_type: str = "RSA"
    allowed_lengths: tuple[int, ...] = (2048,)


class SignatureRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a certificate must be signed: one of `list`."""

    presence: Presence
    values: list[str] = msgspec.field(name="list", default_factory=list)

    def check(self, path: str, faults: Faults, known: tuple[str, ...]) -> None:
        """Check the rule itself when it is stored."""
        if self.presence != Presence.FORBIDDEN and not (self.values and set(self.values) <= set(known)):
            faults.refuse(f"{path}.list", f"needs one or more of {', '.join(known)}")
        if self.presence == Presence.STATIC and len(self.values) != 1:
            faults.refuse(f"{path}.list", "STATIC needs one value")

    def take(self, value: Any, path: str, faults: Faults) -> str | None:
        """Return what the signature must be for `value` (None: not sent), or None where it may be any."""
        rule = StringRule(self.presence, self.values[0] if self.presence == Presence.STATIC else "")
        return rule.take(value, path, faults, lambda sent: None if sent in self.values else UNLIKE)


# What `public_key` can say, in the words of the contract.
_ALGORITHMS = {
    "RSA": {2048: KeyAlgorithm.RSA_2048, 3072: KeyAlgorithm.RSA_3072, 4096: KeyAlgorithm.RSA_4096},
    "ECDSA": {256: KeyAlgorithm.P_256, 384: KeyAlgorithm.P_384},
}


class Policy(msgspec.Struct, frozen=True, dict=True):
    """A policy that was checked: its rules by branch and field, and the document it was read from."""

    # As it was stored, and with what holds where it says nothing.
    document: dict[str, Any]
    profile: Profile
    strings: dict[str, StringRule]
    units: ListRule
    extra: dict[str, TypedRule]
    directory_strings: dict[str, StringRule]
    directory_lists: dict[str, ListRule]
    date_of_birth: Presence
    directory_extra: dict[str, TypedRule]
    alternatives: dict[str, ListRule]
    other_names: dict[str, TypedRule]
    usages: dict[str, Choice] | None
    purposes: PurposesRule | None
    statements: StatementsRule | None
    template: TemplateRule | None
    custom: dict[str, CustomRule]
    signature: dict[str, SignatureRule]
    algorithm: KeyAlgorithm
    lifetime: timedelta

    @cached_property
    def silent(self) -> frozenset[str]:
        """The branches of which nothing is certified and nothing refused when nothing of them is sent."""
        directory: list[StringRule | ListRule | TypedRule] = [
            *self.directory_strings.values(),
            *self.directory_lists.values(),
            *self.directory_extra.values(),
        ]
        alternatives: list[ListRule | TypedRule] = [*self.alternatives.values(), *self.other_names.values()]
        found = {"san"} if all(rule.quiet for rule in alternatives) else set()
        if all(rule.quiet for rule in directory) and self.date_of_birth != Presence.REQUIRED:
            found.add("subject_da")
        return frozenset(found)

    @cached_property
    def further(self) -> bool:
        """Whether anything but names has a rule."""
        rules = (self.usages, self.purposes, self.statements, self.template)
        return bool(self.custom or self.signature) or any(rule is not None for rule in rules)


_NONE = ListRule()


# Storing ---------------------------------------------------------------------------------------------


def load(document: Any, profile: Profile) -> Policy:
    """Return the policy of a JSON document, for certificates of a profile.

    Raises `ContentRefused` naming every place that is wrong.
    """
    if not isinstance(document, dict):
        raise ContentRefused("A policy is a JSON object.", {"policy": "must be an object"})
    read = Document(document)
    faults = read.faults
    for key in sorted(set(document) - BRANCHES - _OF_EVERY_IDENTITY):
        faults.refuse(key, "is not known")
    dn = read.branch("subject_dn", DN_FIELDS)
    da = read.branch("subject_da", SDA_FIELDS)
    san = read.branch("san", SAN_FIELDS)
    keys = read.own("public_key", PublicKeyRule) or PublicKeyRule()
    validity = _validity(read)
    policy = Policy(
        document={
            **document,
            "validity": msgspec.to_builtins(validity),
            "public_key": {"key_type": keys.key_type, "allowed_lengths": list(keys.allowed_lengths)},
        },
        profile=profile,
        strings=read.strings(dn, "subject_dn", {field: FAULTS[field] for field in DN_STRINGS}),
        units=read.lists(dn, "subject_dn", {"organizational_unit": FAULTS["organizational_unit"]}).get(
            "organizational_unit", _NONE
        ),
        extra=read.typed(dn, "subject_dn.extra_attributes", "extra_attributes"),
        directory_strings=read.strings(da, "subject_da", SDA_STRINGS),
        directory_lists=read.lists(da, "subject_da", dict.fromkeys(SDA_LISTS, text.fault_of_country)),
        date_of_birth=read.rule(da.get("date_of_birth", "FORBIDDEN"), Presence, "subject_da.date_of_birth")
        or Presence.FORBIDDEN,
        directory_extra=read.typed(da, "subject_da.extra_attributes", "extra_attributes"),
        alternatives=read.lists(san, "san", SAN_LISTS),
        other_names=read.typed(san, "san.other_names", "other_names"),
        usages=_usages(read, profile),
        purposes=read.own("extended_key_usages", PurposesRule),
        statements=read.own("qualified_statements", StatementsRule),
        template=read.own("ms_extension_template", TemplateRule),
        custom=read.by_oid(
            document.get("custom_extensions", {}),
            "custom_extensions",
            CustomRule,
            lambda oid, rule, here: rule.check(oid, here, faults),
        ),
        signature=_signature(read),
        algorithm=_algorithm(keys, faults),
        lifetime=min(timedelta(seconds=max(0, min(validity.secondsmax, _LONGEST_SECONDS))), profile.lifetime),
    )
    _check(policy, faults)
    if faults.refused:
        raise ContentRefused("The policy cannot be used.", faults.refused)
    return policy


def propose(document: Any, profile: Profile) -> Policy:
    """Return the policy of a document that is to be put in force; raises what `load` raises.

    It may not set what nobody could ask for: texts that imitate others. What is in force already stays so.
    """
    policy = load(document, profile)
    faults = Faults()
    strings = {f"subject_dn.{field}": rule for field, rule in policy.strings.items()}
    strings |= {f"subject_da.{field}": rule for field, rule in policy.directory_strings.items()}
    for path, rule in strings.items():
        if rule.presence == Presence.STATIC and not rule.mixed_scripts:
            faults.refuse(f"{path}.format", text.fault_of_mixture(rule.format))
    if policy.units.static and not policy.units.mixed_scripts:
        for place, value in enumerate(policy.units.values):
            faults.refuse(f"subject_dn.organizational_unit.list[{place}]", text.fault_of_mixture(value))
    typed = {f"subject_dn.extra_attributes.{oid}": rule for oid, rule in policy.extra.items()}
    typed |= {f"san.other_names.{oid}": rule for oid, rule in policy.other_names.items()}
    for path, one in typed.items():
        if one.static and not one.mixed_scripts:
            faults.refuse(f"{path}.value_format", text.fault_of_mixture(one.value_format))
    if faults.refused:
        raise ContentRefused("The policy cannot be used.", faults.refused)
    return policy


def _check(policy: Policy, faults: Faults) -> None:
    if policy.date_of_birth == Presence.STATIC:
        faults.refuse("subject_da.date_of_birth", "cannot be STATIC")
    for oid, rule in policy.extra.items():
        faults.refuse(f"subject_dn.extra_attributes.{oid}", fault_of_extra_attribute(oid, rule))
    for oid in policy.directory_extra:
        faults.refuse(f"subject_da.extra_attributes.{oid}", fault_of_directory_attribute(oid))
    if SMTP_UTF8_MAILBOX in policy.other_names:
        faults.refuse(f"san.other_names.{SMTP_UTF8_MAILBOX}", "has a rule of its own, san.emails")
    if policy.purposes is not None:
        policy.purposes.check("extended_key_usages", faults, policy.profile)
    if policy.statements is not None and policy.profile.statements is not None:
        faults.refuse("qualified_statements", f"are those of the profile {policy.profile.name}, and no others")
    elif policy.statements is not None:
        policy.statements.check("qualified_statements", faults, policy.profile)
    if policy.template is not None:
        policy.template.check("ms_extension_template", faults)


def _validity(read: Document) -> Validity:
    found = read.own("validity", Validity) or Validity()
    if found.secondsmin is None:
        found = msgspec.structs.replace(found, secondsmin=min(found.secondsmax, _LONGEST_SECONDS))
    if (
        not _SHORTEST_SECONDS <= found.secondsmax <= _LONGEST_SECONDS
        or not 0 < (found.secondsmin or 0) <= found.secondsmax
    ):
        bounds = f"secondsmax from {_SHORTEST_SECONDS} to {_LONGEST_SECONDS}"
        read.faults.refuse("validity", f"needs {bounds}, and secondsmin from 1 to secondsmax")
    if found.not_before_negative_skew < 0 or found.not_before_positive_skew < 0:
        read.faults.refuse("validity", "a skew cannot be negative")
    return found


def _usages(read: Document, profile: Profile) -> dict[str, Choice] | None:
    if "key_usages" not in read.content:
        return None
    rules: dict[str, Choice] = {}
    for usage, value in read.branch("key_usages", set(USAGES)).items():
        rule = read.rule(value, Choice, f"key_usages.{usage}")
        if rule is not None and usage in USAGES:
            rules[usage] = rule
    check_usages(rules, "key_usages", read.faults, profile)
    return rules


def _signature(read: Document) -> dict[str, SignatureRule]:
    branch = read.branch("signature", set(SIGNATURE_FIELDS))
    found: dict[str, SignatureRule] = {}
    for field, known in SIGNATURE_FIELDS.items():
        rule = read.rule(branch[field], SignatureRule, f"signature.{field}") if field in branch else None
        if rule is not None:
            rule.check(f"signature.{field}", read.faults, known)
            found[field] = rule
    return found


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
