"""Who may do what, and what needs two: the roles of people, and for every act who asks for it and who decides.

An act that nobody decides is done by the one who asks; every other waits until a second, different person agrees.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a person is there for; the last two are people of one account, and act for it alone."""

    OPERATOR = "operator"
    VETTING_OFFICER = "vetting-officer"
    SECURITY_OFFICER = "security-officer"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    DEVELOPER = "developer"


OF_AN_ACCOUNT = frozenset({Role.ADMINISTRATOR, Role.DEVELOPER})


class Right(msgspec.Struct, frozen=True):
    """Who asks for an act and who decides on it, nobody if one person is enough.

    `records` are the kinds of entries that the act leaves in the ledger: without an approval, none of them may be there
    once there is staff.
    """

    asks: frozenset[Role]
    decides: frozenset[Role] = frozenset()
    records: frozenset[str] = frozenset()


_OPERATOR, _VETTING, _SECURITY = Role.OPERATOR, Role.VETTING_OFFICER, Role.SECURITY_OFFICER
_ADMINISTRATOR, _DEVELOPER = Role.ADMINISTRATOR, Role.DEVELOPER


def _two(asks: set[Role], decides: set[Role], *records: str) -> Right:
    return Right(frozenset(asks), frozenset(decides), frozenset(records))


RIGHTS: Mapping[str, Right] = {
    # Of accounts of production; what is only for tests needs nobody.
    "account.create": _two({_OPERATOR, _VETTING}, {_VETTING}, "account.created"),
    "account.resume": _two({_OPERATOR, _VETTING, _SECURITY}, {_VETTING, _SECURITY}, "account.resumed"),
    "policy.set": _two({_OPERATOR, _VETTING, _ADMINISTRATOR}, {_VETTING}, "policy.set"),
    "account.rate": _two({_OPERATOR, _VETTING}, {_VETTING}, "account.rated"),
    "account.profile": _two({_OPERATOR, _VETTING}, {_VETTING}, "profile.chosen"),
    "mechanism.approve": _two({_OPERATOR, _VETTING, _ADMINISTRATOR}, {_VETTING}, "mechanism.approved"),
    "mechanism.resume": _two({_OPERATOR, _VETTING, _ADMINISTRATOR}, {_VETTING}, "mechanism.resumed"),
    "mechanism.apply": Right(frozenset({_OPERATOR, _VETTING, _ADMINISTRATOR})),
    "mechanism.refuse": Right(frozenset({_OPERATOR, _VETTING, _SECURITY})),
    "mechanism.suspend": Right(frozenset({_OPERATOR, _VETTING, _SECURITY, _ADMINISTRATOR})),
    "mechanism.audit": Right(frozenset({_OPERATOR, _VETTING, _SECURITY})),
    "evidence.show": Right(frozenset({_VETTING, _SECURITY, Role.AUDITOR})),
    "evidence.erase": Right(frozenset({_VETTING, _SECURITY})),
    "account.suspend": Right(frozenset({_OPERATOR, _VETTING, _SECURITY, _ADMINISTRATOR})),
    "account.close": Right(frozenset({_OPERATOR, _VETTING, _SECURITY})),
    "credential.create": Right(frozenset({_OPERATOR, _ADMINISTRATOR, _DEVELOPER})),
    "credential.renew": Right(frozenset({_OPERATOR, _ADMINISTRATOR, _DEVELOPER})),
    "credential.revoke": Right(frozenset({_OPERATOR, _VETTING, _SECURITY, _ADMINISTRATOR, _DEVELOPER})),
    # Of certificates, and of the authorities that issue them.
    "certificate.revoke": Right(frozenset({_OPERATOR, _VETTING, _SECURITY})),
    "authority.revoke": _two({_SECURITY}, {_SECURITY}, "certificate.revoked"),
    "authority.import-crl": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "crl.imported", "certificate.revoked"),
    "authority.renew": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "certificate.issued", "authority.installed"),
    "authority.ceremony": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "ceremony.allowed"),
    # Of the ledger: old entries lose their bodies.
    "ledger.prune": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "ledger.pruned"),
    # Of what certificates look like, and of who may call them qualified.
    "profile.add": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "profile.added"),
    "profile.resume": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "profile.resumed"),
    "accreditation.record": _two({_SECURITY}, {_SECURITY}, "accreditation.recorded"),
    "accreditation.withdraw": Right(frozenset({_OPERATOR, _SECURITY})),
    # The API's own certificate says nothing of anybody.
    "tls.renew": Right(frozenset({_OPERATOR, _SECURITY})),
    # Of people.
    "staff.enrol": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "staff.enrolled"),
    "staff.remove": _two({_OPERATOR, _SECURITY}, {_SECURITY}, "staff.removed"),
    "staff.renew": Right(frozenset(Role)),
}
