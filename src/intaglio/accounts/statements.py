"""The rules of `qualified_statements` (RFC 3739 §3.2.6, ETSI EN 319 412-5)."""

import re
from typing import Any

import msgspec

from intaglio.accounts.rules import STATIC, Choice, Faults, IntegerRule, ListRule, Presence, StringRule, take_object
from intaglio.pki import text
from intaglio.pki.extensions import Statements
from intaglio.pki.profiles import Profile

FIELDS = frozenset(
    {
        "semantics",
        "etsi_qc_compliance",
        "etsi_qc_sscd_compliance",
        "etsi_qc_type",
        "etsi_qc_retention_period",
        "etsi_qc_pds",
    }
)
# Longer than anything that is kept for a signature.
_MOST_YEARS = 200
_MOST_LANGUAGES = 16
# EN 319 412-5 §4.3.4: two letters, ISO 639-1. Clients write them in either case.
_LANGUAGE = re.compile(r"\A(?:[a-z]{2}|[A-Z]{2})\Z")


class SemanticsRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the attributes of the subject mean, and who registers the names."""

    identifier: StringRule = StringRule(Presence.FORBIDDEN)
    name_authorities: ListRule = ListRule()


class DisclosureRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the disclosure statement is, by language; `policies` are the places if they are STATIC."""

    presence: Presence
    policies: dict[str, str] = {}

    def check(self, path: str, faults: Faults) -> None:
        """Check the rule itself when it is stored."""
        if self.presence == Presence.STATIC:
            if not self.policies:
                faults.refuse(f"{path}.policies", "STATIC needs a place")
            _check_places(self.policies, f"{path}.policies", faults)

    def take(self, value: Any, path: str, faults: Faults) -> tuple[tuple[str, str], ...]:
        """Return what is certified for `value` (None: not sent), in the order in which it came."""
        if value is not None and not isinstance(value, dict):
            faults.mistype(path, "an object keyed by language")
            return ()
        if self.presence == Presence.STATIC:
            if value is not None and value != self.policies:
                faults.refuse(path, STATIC)
            return tuple(self.policies.items())
        # Empty is as good as not sent.
        if not self.presence.admits(value or None, path, faults):
            return ()
        return tuple(value.items()) if value and _check_places(value, path, faults) else ()


class StatementsRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The statements; what has no rule is forbidden."""

    semantics: SemanticsRule = SemanticsRule()
    etsi_qc_compliance: Choice = Choice.STATIC_FALSE
    etsi_qc_sscd_compliance: Choice = Choice.STATIC_FALSE
    etsi_qc_type: StringRule = StringRule(Presence.FORBIDDEN)
    etsi_qc_retention_period: IntegerRule = IntegerRule(Presence.FORBIDDEN)
    etsi_qc_pds: DisclosureRule = DisclosureRule(Presence.FORBIDDEN)

    def check(self, path: str, faults: Faults, profile: Profile) -> None:
        """Check the rules themselves when they are stored."""
        self.semantics.identifier.check(f"{path}.semantics.identifier", faults, text.fault_of_oid)
        self.semantics.name_authorities.check(f"{path}.semantics.name_authorities", faults, fault_of_authority)
        for field in ("etsi_qc_compliance", "etsi_qc_sscd_compliance"):
            if getattr(self, field) != Choice.STATIC_FALSE:
                faults.refuse(f"{path}.{field}", "can only be STATIC_FALSE: no issuing CA here is accredited")
        self.etsi_qc_type.check(f"{path}.etsi_qc_type", faults, lambda oid: _fault_of_type(oid, profile))
        self.etsi_qc_retention_period.check(f"{path}.etsi_qc_retention_period", faults, _MOST_YEARS)
        self.etsi_qc_pds.check(f"{path}.etsi_qc_pds", faults)

    def take(self, value: Any, path: str, faults: Faults, profile: Profile) -> Statements | None:
        """Return what is certified for `value` (None: not sent), or None where that is nothing."""
        sent = take_object(value, path, FIELDS, faults)
        here = f"{path}.semantics"
        semantics = take_object(sent.get("semantics"), here, {"identifier", "name_authorities"}, faults)
        taken = Statements(
            semantics=self.semantics.identifier.take(
                semantics.get("identifier"), f"{here}.identifier", faults, text.fault_of_oid
            ),
            name_authorities=self.semantics.name_authorities.take(
                semantics.get("name_authorities"), f"{here}.name_authorities", faults, fault_of_authority
            ),
            compliance=self.etsi_qc_compliance.take(
                sent.get("etsi_qc_compliance"), f"{path}.etsi_qc_compliance", faults
            ),
            device=self.etsi_qc_sscd_compliance.take(
                sent.get("etsi_qc_sscd_compliance"), f"{path}.etsi_qc_sscd_compliance", faults
            ),
            type=self.etsi_qc_type.take(
                sent.get("etsi_qc_type"), f"{path}.etsi_qc_type", faults, lambda oid: _fault_of_type(oid, profile)
            ),
            retention_years=self.etsi_qc_retention_period.take(
                sent.get("etsi_qc_retention_period"), f"{path}.etsi_qc_retention_period", faults
            ),
            disclosures=self.etsi_qc_pds.take(sent.get("etsi_qc_pds"), f"{path}.etsi_qc_pds", faults),
        )
        return None if taken == Statements() else taken


def _fault_of_type(oid: str, profile: Profile) -> str | None:
    if oid in profile.qc_types:
        return None
    if not profile.qc_types:
        return "such a certificate has no type"
    return f"must be {' or '.join(profile.qc_types)} for such a certificate"


def fault_of_authority(value: str) -> str | None:
    """Return what is wrong with a name registration authority: an e-mail address, a URI or a host name."""
    if ":" in value:
        return text.fault_of_uri(value)
    return text.fault_of_email(value) if "@" in value else text.fault_of_dns_name(value)


def _check_places(places: dict[str, Any], path: str, faults: Faults) -> bool:
    if len(places) > _MOST_LANGUAGES:
        faults.refuse(path, f"at most {_MOST_LANGUAGES} are allowed")
        return False
    right = True
    seen: set[str] = set()
    for language, url in places.items():
        here = f"{path}.{language}"
        reason = None
        if language.lower() in seen:
            reason = "is sent twice"
        elif not _LANGUAGE.match(language):
            reason = "must be keyed by two letters of ISO 639-1"
        elif not isinstance(url, str):
            faults.mistype(here, "a string")
            right = False
        elif not url.startswith("https://"):
            reason = "must be an https URL"
        else:
            reason = text.fault_of_uri(url)
        faults.refuse(here, reason)
        seen.add(language.lower())
        right = right and reason is None
    return right
