"""Reading the profile of a signer from a file that somebody wrote: everything that is wrong with it, by field."""

import re
from collections.abc import Iterator

import msgspec

from intaglio.errors import ContentRefused
from intaglio.pki import text
from intaglio.pki.lint import QUALIFIED_POLICIES
from intaglio.pki.naming import LEGAL_SEMANTICS, NATURAL_SEMANTICS, Naming
from intaglio.pki.profiles import ANY_POLICY, DOCUMENT_SIGNING, NEVER_OF_SIGNERS, PROFILES, Declared, Holder, Profile

MOST_BYTES = 65_536
_MOST_POLICIES = 8
# What the key of an identity lives at most, and what it is of use for at least.
_LONGEST_SECONDS, _SHORTEST_SECONDS = 600, 60
_NAME = re.compile(r"\A[a-z][a-z0-9-]{1,30}[a-z0-9]\Z")
_SUFFIX = re.compile(r"\A[1-9][0-9]{0,8}(\.(0|[1-9][0-9]{0,8})){0,7}\Z")
# What commits, and what shows origin: a signing certificate never has another usage.
_USAGES = frozenset({"digital_signature", "content_commitment"})
_NAMING_OF = {Holder.PERSON: Naming.NATURAL_PERSON, Holder.SEAL: Naming.LEGAL_PERSON}
_SEMANTICS_OF = {Holder.PERSON: NATURAL_SEMANTICS, Holder.SEAL: LEGAL_SEMANTICS}

Fault = tuple[str, str | None]


def read(document: bytes) -> Profile:
    """Return the profile of a TOML document; raises `ContentRefused` naming every field that is wrong."""
    if len(document) > MOST_BYTES:
        raise ContentRefused("The profile cannot be used.", {"profile": f"at most {MOST_BYTES} bytes"})
    try:
        profile = msgspec.toml.decode(document, type=Profile)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ContentRefused("The profile cannot be read.", {"profile": str(error)}) from error
    faults = {field: reason for field, reason in _faults(profile) if reason is not None}
    if faults:
        raise ContentRefused("The profile cannot be used.", faults)
    return profile


def own(document: bytes) -> Profile:
    """Return the profile of an operator's file, as `read` does: its name is none that comes with the service."""
    profile = read(document)
    if profile.name in PROFILES:
        raise ContentRefused("The profile cannot be used.", {"name": "comes with the service: choose another"})
    return profile


def _faults(profile: Profile) -> Iterator[Fault]:
    yield "name", None if _NAME.match(profile.name) else "3 to 32 of a-z, 0-9 and -, beginning with a letter"
    yield "version", None if 1 <= profile.version <= 1_000_000 else "a number from 1"
    yield "title", text.fault_of_text(profile.title, 128)
    yield "holder", None if profile.holder else "person or seal"
    yield "days", "is for CAs: say seconds" if profile.days else None
    right = _SHORTEST_SECONDS <= profile.seconds <= _LONGEST_SECONDS
    yield "seconds", None if right else f"from {_SHORTEST_SECONDS} to {_LONGEST_SECONDS}: the key lives no longer"
    yield "path_length", "is for CAs" if profile.path_length is not None else None
    yield "no_check", "is for OCSP responders" if profile.no_check else None
    yield from _purposes(profile)
    yield from _policies(profile)
    if profile.status == profile.no_revocation:
        yield "status", "either this or no_revocation must be true"
    if profile.no_revocation and not profile.short_term:
        yield "short_term", "must be true with no_revocation (EN 319 412-1 §5.2)"
    if profile.adobe_time_stamp not in {None, "own"}:
        yield "adobe_time_stamp", _fault_of_url(profile.adobe_time_stamp or "")
    yield from _etsi(profile)


def _purposes(profile: Profile) -> Iterator[Fault]:
    for field in ("key_usage", "key_usage_allowed"):
        found = getattr(profile, field)
        yield field, None if set(found) <= _USAGES else f"only {' and '.join(sorted(_USAGES))}"
    if not profile.key_usage:
        yield "key_usage", "needs one"
    for field in ("extended_key_usage", "extended_key_usage_allowed"):
        for oid in getattr(profile, field):
            yield field, text.fault_of_oid(oid)
        if NEVER_OF_SIGNERS.intersection(getattr(profile, field)):
            yield field, f"no signer has {', '.join(sorted(NEVER_OF_SIGNERS))}"
    if len(set(profile.key_usage)) != len(profile.key_usage):
        yield "key_usage", "has one twice"
    if len(set(profile.extended_key_usage)) != len(profile.extended_key_usage):
        yield "extended_key_usage", "has one twice"
    if not DOCUMENT_SIGNING.intersection(profile.extended_key_usage):
        yield "extended_key_usage", f"needs one for signing documents: {', '.join(sorted(DOCUMENT_SIGNING))}"


def _policies(profile: Profile) -> Iterator[Fault]:
    if profile.policy is None and not profile.policies:
        yield "policy", "needs a policy: arcs below policy_arc, or policies"
    if profile.policy is not None:
        yield "policy", None if _SUFFIX.match(profile.policy) else "arcs below policy_arc, as in 1.1"
        yield "policy", "is that of time-stamps" if profile.policy == PROFILES["tsa"].policy else None
        if not profile.qualified and any(one.qualified and one.policy == profile.policy for one in PROFILES.values()):
            yield "policy", "is that of qualified certificates: statements.compliance must be true"
    if len(profile.policies) > _MOST_POLICIES:
        yield "policies", f"at most {_MOST_POLICIES}"
    for oid in profile.policies:
        yield "policies", text.fault_of_oid(oid)
        yield "policies", "anyPolicy is for CAs" if oid == ANY_POLICY.dotted_string else None
        if oid.startswith(QUALIFIED_POLICIES) and not profile.qualified:
            yield "policies", f"{oid} is of qualified certificates: statements.compliance must be true"
    if len(set(profile.policies)) != len(profile.policies):
        yield "policies", "has one twice"
    if profile.cps is not None:
        yield "cps", _fault_of_url(profile.cps)


def _etsi(profile: Profile) -> Iterator[Fault]:
    if profile.holder is None:
        return
    if profile.naming is not None and profile.naming != _NAMING_OF[profile.holder]:
        yield "naming", f"is {_NAMING_OF[profile.holder]} for a {profile.holder}"
    allowed = f"0.4.0.1862.1.6.{1 if profile.holder == Holder.PERSON else 2}"
    yield "qc_types", None if set(profile.qc_types) <= {allowed} else f"is {allowed} for a {profile.holder}"
    if profile.statements is not None:
        yield from _statements(profile, profile.holder, allowed, profile.statements)


def _statements(profile: Profile, holder: Holder, allowed: str, declared: Declared) -> Iterator[Fault]:
    if declared == Declared():
        yield "statements", "says nothing: leave it out"
    if declared.type not in {None, allowed}:
        yield "statements.type", f"is {allowed} for a {holder}"
    if declared.semantics not in {None, _SEMANTICS_OF[holder]}:
        yield "statements.semantics", f"is {_SEMANTICS_OF[holder]} for a {holder}"
    if declared.semantics is not None and profile.naming is None:
        yield "naming", "is needed: statements.semantics says what its identifiers mean"
    if declared.device and not declared.compliance:
        yield "statements.device", "is for qualified certificates: compliance must be true"
    if declared.compliance and (profile.naming is None or declared.type is None or not declared.disclosure):
        yield "statements.compliance", "needs naming, statements.type and statements.disclosure (EN 319 412-5 §5)"
    if declared.retention_years is not None and not 0 < declared.retention_years <= 200:
        yield "statements.retention_years", "from 1 to 200"
    yield from _legislation(declared)
    for language, url in declared.disclosures.items():
        named = re.match(r"\A[a-z]{2}\Z", language) is not None
        yield "statements.disclosures", None if named else "keyed by two letters of ISO 639-1"
        yield "statements.disclosures", text.fault_of_uri(url) if url.startswith("https://") else "must be https"


def _legislation(declared: Declared) -> Iterator[Fault]:
    if declared.legislation and not declared.compliance:
        yield "statements.legislation", "is for qualified certificates: compliance must be true"
    if len(set(declared.legislation)) != len(declared.legislation):
        yield "statements.legislation", "has one twice"
    yield from (("statements.legislation", text.fault_of_country(country)) for country in declared.legislation)


def _fault_of_url(url: str) -> str | None:
    return text.fault_of_uri(url) if url.startswith(("http://", "https://")) else "must be a URL, http or https"
