"""What a token of a provider must hold: the rule that is approved with a mechanism of the depth *proven*."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from intaglio.accounts.certified import Certified
from intaglio.accounts.policy import Policy
from intaglio.accounts.rules import Faults, Presence
from intaglio.errors import ContentRefused, NotVerified
from intaglio.pki.extensions import Custom
from intaglio.pki.subject import Typed

# Of keys that everybody may have: what is signed with a shared secret, or not at all, proves nothing to others.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"]
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class TokenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tokens are taken, and how their claims stand for what is certified.

    `claims` maps a field of the identity request (`subject_dn.common_name`) to the claim that must say the same: its
    name, or a JSON pointer (RFC 6901) that begins with a slash. `expected` are claims with the values that they must
    have. `vouched` are fields that may be certified on the account's word alone. A token is at most `age_seconds` old.
    `nonce` is bound to the `request`, as base64url of the SHA-256 of its body, or is one that was fetched here.
    """

    issuer: Text
    audience: Text
    jwks_uri: Text
    claims: Annotated[dict[str, Text], msgspec.Meta(min_length=1, max_length=32)]
    expected: Annotated[dict[str, str | int | bool], msgspec.Meta(max_length=32)] = {}
    vouched: tuple[str, ...] = ()
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = ("RS256",)
    binding: Literal["request", "nonce"] = "request"
    age_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 300


def read(document: Any) -> TokenRule:
    """Return the rule of a JSON document; raises `ContentRefused`."""
    try:
        return msgspec.convert(document, TokenRule)
    except msgspec.ValidationError as error:
        raise ContentRefused("The rule cannot be read.", {"rule": str(error)}) from error


def check(rule: TokenRule, policy: Policy, faults: Faults, *, loopback: bool) -> None:
    """Note what keeps a rule from being applied for; `loopback` says whether keys may come from there by plain HTTP."""
    if not reachable(rule.jwks_uri, loopback=loopback):
        faults.refuse("rule.jwks_uri", "must be an https URL without user or fragment")
    open_ = _open(policy)
    for field, claim in rule.claims.items():
        if field not in open_ or field in _UNCOMPARED:
            faults.refuse(f"rule.claims.{field}", "is no field of a text that the account's policy leaves open")
        if claim.startswith("/") and not _steps(claim):
            faults.refuse(f"rule.claims.{field}", "is no JSON pointer")
    for place, field in enumerate(rule.vouched):
        if field not in open_ or field in rule.claims:
            faults.refuse(f"rule.vouched[{place}]", "must be left open by the account's policy, and be in no claim")


def reachable(uri: str, *, loopback: bool) -> bool:
    """Return whether keys may be fetched from a URI at all."""
    try:
        parts = urlsplit(uri)
        plain = loopback and parts.scheme == "http" and parts.hostname in _LOOPBACK
        return bool(
            (parts.scheme == "https" or plain)
            and parts.hostname
            and not parts.username
            and not parts.fragment
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


# Fields -------------------------------------------------------------------------------------------

# What is certified of them is no text that a claim could be compared with.
_UNCOMPARED = frozenset({"subject_dn.extra_attributes", "subject_da.extra_attributes", "san.other_names",
                         "custom_extensions"})  # fmt: skip


def _open(policy: Policy) -> frozenset[str]:
    """Return the fields of an identity request in which a policy lets a request say who somebody is."""
    asked = {Presence.REQUIRED, Presence.OPTIONAL}
    found = {f"subject_dn.{field}" for field, one in policy.strings.items() if one.presence in asked}
    found |= {f"subject_da.{field}" for field, one in policy.directory_strings.items() if one.presence in asked}
    lists = {"subject_dn.organizational_unit": policy.units}
    lists |= {f"subject_da.{field}": one for field, one in policy.directory_lists.items()}
    lists |= {f"san.{field}": one for field, one in policy.alternatives.items()}
    found |= {field for field, listed in lists.items() if not listed.static and listed.maxcount > 0}
    if policy.date_of_birth in asked:
        found.add("subject_da.date_of_birth")
    maps = {
        "subject_dn.extra_attributes": policy.extra,
        "subject_da.extra_attributes": policy.directory_extra,
        "san.other_names": policy.other_names,
    }
    found |= {field for field, typed in maps.items() if any(not one.static for one in typed.values())}
    if any(one.presence in asked for one in policy.custom.values()):
        found.add("custom_extensions")
    return frozenset(found)


def _said(certified: Certified, policy: Policy) -> dict[str, tuple[str, ...]]:
    """Return what is certified, by the fields of an identity request; what a policy set itself has no part in it."""
    subject = certified.subject
    found: dict[str, tuple[str, ...]] = {f"subject_dn.{name}": (value,) for name, value in subject.attributes.items()}
    found["subject_dn.organizational_unit"] = subject.organizational_units
    found["subject_dn.extra_attributes"] = _oids(subject.extra, policy.extra)
    directory = certified.directory
    if directory is not None:
        found["subject_da.gender"] = () if directory.gender is None else (directory.gender,)
        found["subject_da.place_of_birth"] = () if directory.place_of_birth is None else (directory.place_of_birth,)
        born = directory.date_of_birth
        found["subject_da.date_of_birth"] = () if born is None else (born.isoformat(),)
        found["subject_da.country_of_citizenship"] = directory.country_of_citizenship
        found["subject_da.country_of_residence"] = directory.country_of_residence
        found["subject_da.extra_attributes"] = _oids(directory.extra, policy.directory_extra)
    san = certified.alternatives
    if san is not None:
        found |= {"san.emails": san.emails, "san.dns_names": san.dns_names, "san.uris": san.uris}
        found["san.ip_addresses"] = san.ip_addresses
        found["san.other_names"] = _oids(san.other_names, policy.other_names)
    chosen = {oid for oid, one in policy.custom.items() if one.presence != Presence.STATIC}
    found["custom_extensions"] = tuple(one.oid for one in certified.custom if one.oid in chosen)
    return {field: values for field, values in found.items() if values}


def _oids(typed: Iterable[Typed | Custom], rules: Mapping[str, Any]) -> tuple[str, ...]:
    # An e-mail address in other letters is certified as another name, and has come as one of `san.emails`.
    return tuple(one.oid for one in typed if one.oid in rules and not rules[one.oid].static)


# Claims -------------------------------------------------------------------------------------------


def compare(rule: TokenRule, claims: Mapping[str, Any], certified: Certified, policy: Policy) -> dict[str, str]:
    """Return which claim stands for which field that is certified.

    Raises `NotVerified` where a claim is not as expected, `ContentRefused` naming every field that is not as its claim
    says, or that no claim says.
    """
    for claim, value in rule.expected.items():
        found = _claim(claims, claim)
        # True is no 1 here.
        if found != value or isinstance(found, bool) is not isinstance(value, bool):
            raise NotVerified("The identity token is refused.", {"identity_token": f"{claim} is not as approved"})
    faults = Faults()
    mapped: dict[str, str] = {}
    open_ = _open(policy)
    for field, values in _said(certified, policy).items():
        claim_ = rule.claims.get(field)
        if claim_ is not None:
            mapped[field] = claim_
            if not set(values) <= _texts(_claim(claims, claim_)):
                faults.refuse(field, f"is not what the identity token says in {claim_}")
        elif field in open_ and field not in rule.vouched:
            faults.refuse(field, "is not proven: the mechanism's rule maps no claim to it")
    if not mapped:
        faults.refuse("subject_dn", "has nothing that the identity token proves")
    if faults.refused:
        raise ContentRefused("The identity is not what the identity token proves.", faults.refused)
    return mapped


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if not name.startswith("/"):
        return claims.get(name)
    found: Any = claims
    for step in _steps(name):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:] if step]


def _texts(value: Any) -> set[str]:
    values = value if isinstance(value, list) else [value]
    return {unicodedata.normalize("NFC", one) for one in values if isinstance(one, str)}
