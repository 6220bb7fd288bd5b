"""What can go wrong in the client, as one tree; every error says what to do about it.

ClientError
├── Unusable                what the caller gave cannot be used: a file, an address, a digest
├── Unreachable             no answer came back
│   ├── ServerNotTrusted    the server's certificate is not the one expected
│   └── CertificateNotTaken the server did not take the client certificate
├── UnexpectedAnswer        an answer came back, but not one of this interface
└── Refused                 the service answered with a problem document
    ├── Malformed           400, 405, 411, 413, 415: not a request of this interface
    ├── Unauthenticated     401, also after a second login
    ├── Forbidden           403: suspended, quota used up, not approved; final
    ├── NotFound            404: unknown, or older than ten minutes
    ├── ContentRefused      422: refused by the validation policy; `errors` names the fields
    ├── RateLimited         429, also after waiting
    └── ServiceFault        5xx, 503 also after waiting
"""

from collections.abc import Mapping
from typing import ClassVar


class ClientError(Exception):
    """Root of the tree; `str()` is a sentence for a person, `hint` says what to do next."""

    hint: ClassVar[str] = "See the message."


class Unusable(ClientError, ValueError):
    """What the caller gave cannot be used, found out before anything was sent."""

    hint = "Correct the argument or the file that the message names."


class Unreachable(ClientError):
    """No answer came back; `sent` tells whether the request may have reached the service."""

    hint = "Check the base URL, the network and whether the service is running."
    final: ClassVar[bool] = False

    def __init__(self, description: str, *, sent: bool) -> None:
        super().__init__(description)
        self.sent = sent


class ServerNotTrusted(Unreachable):
    """The server's certificate does not chain to the configured CA, or names another host."""

    hint = "Set the server CA to the PEM file of the CA that issued the server's certificate."
    final = True


class CertificateNotTaken(Unreachable):
    """The server ended the handshake over the client certificate."""

    hint = "Use the client certificate issued for this account, with its private key and issuing CA."
    final = True


class UnexpectedAnswer(ClientError):
    """An answer came back that is not one of this interface."""

    hint = "Check that the base URL leads to the signing service and not to something in front of it."


class Refused(ClientError):
    """The service answered with a problem document (RFC 9457) of three more members.

    `errors` maps a field or kind to what is wrong with it, `id` is the request's id in the
    service's log, `description` the text for a person. `retry_after` is in seconds.
    """

    hint = "See the message; quote the request id when asking the operator of the service."

    def __init__(
        self,
        description: str,
        *,
        status: int,
        id: str | None = None,  # noqa: A002 -- the member's name on the wire
        errors: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(description)
        self.description = description
        self.status = status
        self.id = id
        self.errors: dict[str, str] = dict(errors or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        named = "; ".join(f"{field}: {wrong}" for field, wrong in sorted(self.errors.items()))
        sentence = f"{self.description} ({named})" if named else self.description
        request = f", request {self.id}" if self.id else ""
        return f"{sentence} [HTTP {self.status}{request}]"


class Malformed(Refused):
    """The service could not read the request as one of this interface."""

    hint = "Check that client and service speak the same API version."


class Unauthenticated(Refused):
    """The credential or the client certificate is unknown, revoked or does not belong together."""

    hint = "Check API key, API secret and client certificate: they must be of one account and not revoked."


class Forbidden(Refused):
    """The account may not do this now; trying again does not help."""

    hint = "Look at quotas with `intaglio-client status`, or ask the account's administrator."


class NotFound(Refused):
    """Unknown, somebody else's, or an identity older than ten minutes."""

    hint = "Ask for a new identity: its key lives for ten minutes."


class ContentRefused(Refused):
    """The account's validation policy refused the content; `errors` names every refused field."""

    hint = "Compare the named fields with the account's validation policy."


class RateLimited(Refused):
    """Too many requests, also after the waits that the service asked for."""

    hint = "Send fewer requests at once, or try again later."


class ServiceFault(Refused):
    """The service cannot do this now; the reason is in its own log."""

    hint = "Try again later; if it lasts, give the request id to the operator of the service."


def refusal_for(status: int) -> type[Refused]:
    """Return the class of refusal that an HTTP status of 400 or more stands for."""
    if status >= 500:
        return ServiceFault
    return {
        400: Malformed,
        401: Unauthenticated,
        403: Forbidden,
        404: NotFound,
        405: Malformed,
        411: Malformed,
        413: Malformed,
        415: Malformed,
        422: ContentRefused,
        429: RateLimited,
    }.get(status, Refused)
