"""What can go wrong, as one tree.

    IntaglioError
    ├── RequestRefused          the caller can change something
    │   ├── Malformed           not readable as what it should be
    │   ├── Unauthenticated     who asks is not known
    │   │   └── TokenMissing    no token was sent at all
    │   ├── NotAllowed          known, and without the right to it
    │   ├── AccountNotActive    suspended or closed
    │   ├── QuotaSpent          final until the quota is raised
    │   ├── RateLimited         too many at once; later will do
    │   ├── NotVerified         nobody was verified in a way that was approved
    │   ├── NotFound            unknown, somebody else's, or expired: one wording
    │   ├── ContentRefused      readable, but not allowed; every field is named
    │   ├── WeakKey             a key that must not be certified
    │   └── Conflict            the state of things forbids it
    └── ServiceFault            we must change something; detail goes to the log only
        ├── KeyUnavailable      a private key cannot be used
        ├── StoreUnavailable    the database cannot be used, or not in time
        ├── ClockUntrusted      the time is not known well enough
        ├── ProviderUnavailable a provider's keys cannot be had
        └── IssuanceRefused     we refuse to sign what we were about to
            └── RuleBroken      a rule for what is signed, by name

No exception carries an HTTP status: every door has a table of its own.
"""

from collections.abc import Mapping


class IntaglioError(Exception):
    """Root of the tree; `str()` is a sentence for a person."""


class RequestRefused(IntaglioError):
    """The caller can change something; `fields` maps a field (or kind) to what is wrong."""

    def __init__(self, description: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(description)
        self.fields: dict[str, str] = dict(fields or {})


class Malformed(RequestRefused):
    """The request could not be read as what it should be."""


class Unauthenticated(RequestRefused):
    """The token, credential or client certificate is missing, wrong, expired or foreign."""


class TokenMissing(Unauthenticated):
    """No access token was sent at all."""


class NotAllowed(RequestRefused):
    """Who asks is known and has no right to it, or not alone."""


class AccountNotActive(RequestRefused):
    """The account is suspended or closed."""


class QuotaSpent(RequestRefused):
    """Nothing is left of the quota; retrying does not help."""


class RateLimited(RequestRefused):
    """Too many of `what`: `limit` at once, and so many again in `window_seconds`.

    The next may come after `retry_after_seconds`.
    """

    def __init__(self, what: str, limit: int, window_seconds: int, retry_after_seconds: int) -> None:
        said = {"rate": f"{what}: at most {limit} at once, and so many again in {window_seconds} seconds"}
        super().__init__("Too many requests: try again later.", said)
        self.what = what
        self.limit = limit
        self.window_seconds = window_seconds
        self.retry_after_seconds = retry_after_seconds


class NotVerified(RequestRefused):
    """The subject was not verified by a mechanism that is approved."""


class NotFound(RequestRefused):
    """Unknown, somebody else's or expired: the wording never tells which."""


class ContentRefused(RequestRefused):
    """Readable, but not allowed; `fields` names every refused field at once."""


class WeakKey(RequestRefused):
    """A public key that must not be certified."""


class Conflict(RequestRefused):
    """What was asked for does not fit the present state."""


class ServiceFault(IntaglioError):
    """We must change something; the text is for the log, never for the caller."""


class KeyUnavailable(ServiceFault):
    """A private key cannot be used now."""


class StoreUnavailable(ServiceFault):
    """The database cannot be used now, or did not answer in time."""


class ClockUntrusted(ServiceFault):
    """The time is not known within the stated accuracy."""


class ProviderUnavailable(ServiceFault):
    """The keys of an identity provider cannot be had now."""


class IssuanceRefused(ServiceFault):
    """What was about to be signed may not be."""


class RuleBroken(IssuanceRefused):
    """A rule for what is signed would be broken: `rule` is its name."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason
