"""What a certificate is for: the rules of `key_usages` and `extended_key_usages`, within what the profile allows."""

from collections.abc import Mapping
from typing import Any

import msgspec

from intaglio.accounts.rules import FORBIDDEN, Choice, Faults, ListRule
from intaglio.pki import text
from intaglio.pki.extensions import Purposes
from intaglio.pki.profiles import DOCUMENT_SIGNING, Profile

# The contract's names, in the order of RFC 5280 §4.2.1.3, and the profiles'.
USAGES = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "key_certificate_sign": "key_cert_sign",
    "crl_sign": "crl_sign",
    "encipher_only": "encipher_only",
    "decipher_only": "decipher_only",
}
_NO_DOCUMENTS = "needs one for signing documents"


class PurposesRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ekus` is a list of object identifiers; what is taken stands in place of the profile's purposes."""

    ekus: ListRule = ListRule()
    critical: bool = False

    def check(self, path: str, faults: Faults, profile: Profile) -> None:
        """Check the rule itself when it is stored."""
        self.ekus.check(f"{path}.ekus", faults, lambda oid: _fault_of_purpose(oid, profile))
        if self.ekus.static and not DOCUMENT_SIGNING.intersection(self.ekus.values):
            faults.refuse(f"{path}.ekus.list", _NO_DOCUMENTS)

    def take(self, value: Any, path: str, faults: Faults, profile: Profile) -> Purposes | None:
        """Return what is certified for `value` (None: not sent), or None where the profile's purposes stay."""
        oids = self.ekus.take(value, path, faults, lambda oid: _fault_of_purpose(oid, profile))
        if oids and not DOCUMENT_SIGNING.intersection(oids):
            faults.refuse(path, _NO_DOCUMENTS)
        return Purposes(oids, self.critical) if oids else None


def _fault_of_purpose(oid: str, profile: Profile) -> str | None:
    if oid in profile.extended_key_usage_allowed:
        return None
    return text.fault_of_oid(oid) or "is no purpose of such a certificate"


def check_usages(rules: Mapping[str, Choice], path: str, faults: Faults, profile: Profile) -> None:
    """Check the rules of `key_usages` when they are stored."""
    if all(choice == Choice.STATIC_FALSE for choice in rules.values()):
        faults.refuse(path, "needs a usage that can be true")
    for usage, choice in rules.items():
        if choice != Choice.STATIC_FALSE and USAGES[usage] not in profile.key_usage_allowed:
            faults.refuse(f"{path}.{usage}", "can only be STATIC_FALSE: such a certificate never has it")


def take_usages(
    rules: Mapping[str, Choice], sent: Any, path: str, faults: Faults, profile: Profile
) -> frozenset[str] | None:
    """Return the names, as profiles have them, of the usages that are certified; None after a fault.

    Where nothing is sent, what is OPTIONAL is as the profile has it; else what is not sent is false.
    """
    if sent is not None and not isinstance(sent, dict):
        faults.mistype(path, "an object")
        return None
    found: dict[str, Any] = sent or {usage: name in profile.key_usage or None for usage, name in USAGES.items()}
    before = len(faults.refused) + len(faults.mistyped)
    for usage in found:
        if usage not in USAGES:
            faults.refuse(f"{path}.{usage}", "is not known")
    taken = set()
    for usage, name in USAGES.items():
        here = f"{path}.{usage}"
        rule = rules.get(usage, Choice.STATIC_FALSE)
        value = found.get(usage) if sent or rule == Choice.OPTIONAL else None
        if usage not in rules and value is True:
            faults.refuse(here, FORBIDDEN)
        elif rule.take(value, here, faults):
            taken.add(name)
    if not taken and before == len(faults.refused) + len(faults.mistyped):
        faults.refuse(path, "needs a usage: none would be certified")
    return frozenset(taken) or None
