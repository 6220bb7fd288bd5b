"""Which entries of the ledger tell of something that needs two people."""

from typing import Any

from intaglio.errors import ContentRefused
from intaglio.staff.replayed import Body
from intaglio.staff.rights import RIGHTS

GUARDED = frozenset(kind for right in RIGHTS.values() for kind in right.records)
# Kinds, or how they begin, of entries that are looked at, beside those of people and approvals.
LOOKED_AT = (
    *sorted(GUARDED), "account.", "policy.", "mechanism.", "authority.", "ceremony.", "certificate.", "key.destroyed",
)  # fmt: skip
_STATES = {
    "account.created": "active",
    "account.resumed": "active",
    "account.suspended": "suspended",
    "account.closed": "closed",
}
_TEST_ROOT = "test-root"
_TLS = "tls"
# What is done in a ceremony, which was agreed to as a whole.
_OF_CEREMONIES = ("authority.", "certificate.issued", "certificate.revoked", "crl.imported", "key.destroyed")


class Guard:
    """What the entries so far say of accounts, authorities and ceremonies.

    `accounts` are hierarchy and state by id; `policies` SHA-256 by account; `mechanisms` what was applied for, with its
    state and version, by id.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, tuple[str, str]] = {}
        self.policies: dict[str, str] = {}
        self.mechanisms: dict[str, dict[str, Any]] = {}
        # Serial numbers of authorities' certificates, with the issuer of each; and CAs that are for tests.
        self._authorities: set[tuple[str, str]] = set()
        self._tests = {_TEST_ROOT}
        self._allowed: dict[str, int] = {}
        self._held: set[str] = set()

    def needs_two(self, body: Body, *, staffed: bool) -> bool:
        """Take in an entry and return whether it needs an approval; raises `ContentRefused` for what cannot be."""
        needed = self._needed(body) if staffed else False
        self._learn(body)
        if body.kind.startswith("ceremony."):
            self._ceremony(body, staffed=staffed)
        return needed

    def _needed(self, body: Body) -> bool:
        if body.kind == "account.created":
            return body.details.get("hierarchy") != "test"
        if body.kind.startswith(("account.", "policy.", "mechanism.", "profile.chosen")):
            return body.kind in GUARDED and self.accounts.get(body.account_id or "", ("", ""))[0] != "test"
        if not body.kind.startswith(_OF_CEREMONIES):
            return body.kind in GUARDED
        return self._of_authorities(body) and not self._held

    def _of_authorities(self, body: Body) -> bool:
        """Return whether an entry tells of an authority of production, or of what answers for one."""
        details = body.details
        if body.kind == "certificate.issued":
            member = details.get("member")
            return member not in {None, _TLS} and details.get("issuer") not in self._tests
        if body.kind == "certificate.revoked":
            issuer = details.get("issuer")
            return (issuer, body.reference) in self._authorities and issuer not in self._tests
        # Identities' keys are destroyed all day; that of a member is named by it.
        return body.kind != "key.destroyed" or "member" in details

    def _learn(self, body: Body) -> None:
        account = body.account_id or ""
        if body.kind == "account.created" and account in self.accounts:
            raise ContentRefused("there is such an account already")
        if body.kind in _STATES:
            hierarchy = body.details["hierarchy"] if body.kind == "account.created" else self.accounts[account][0]
            self.accounts[account] = (hierarchy, _STATES[body.kind])
        if body.kind == "mechanism.applied":
            self.mechanisms[body.reference or ""] = dict(body.details)
        elif body.kind.startswith("mechanism."):
            self.mechanisms[body.reference or ""] |= {part: body.details[part] for part in ("state", "version")}
        if body.kind == "policy.set":
            self.policies[account] = body.details["sha256"]
        if body.kind == "certificate.issued" and "member" in body.details:
            issuer, member = body.details["issuer"], body.details["member"]
            self._authorities.add((issuer, body.reference or ""))
            if issuer in self._tests:
                self._tests.add(member)

    def _ceremony(self, body: Body, *, staffed: bool) -> None:
        if body.kind == "ceremony.allowed":
            script = body.reference or ""
            self._allowed[script] = self._allowed.get(script, 0) + 1
        elif body.kind == "ceremony.begun":
            script = body.details["script"]
            if staffed and not self._allowed.get(script):
                raise ContentRefused("nobody agreed to this ceremony")
            if staffed:
                self._allowed[script] -= 1
            self._held.add(body.reference or "")
        elif body.kind == "ceremony.completed":
            self._held.discard(body.reference or "")
