"""Logging in, and knowing again who calls: tokens bound to account, credential and client certificate.

What was read of an account is remembered, but never believed for longer than a second without asking the
database whether anything administrative has changed.
"""

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import jwt
import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import Connection

from intaglio.accounts import credentials, register, sandbox
from intaglio.accounts.own_rates import rates_of
from intaglio.accounts.policy import Policy, load
from intaglio.accounts.profiles import accreditation, choice
from intaglio.accounts.profiles import register as profiles
from intaglio.accounts.profiles.accreditation import Accredited
from intaglio.accounts.profiles.register import Stop
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Rate
from intaglio.accounts.register import Account
from intaglio.accounts.sandbox import Failure, Sandbox
from intaglio.accounts.verification import register as verification
from intaglio.database.commits import Commits
from intaglio.database.engine import current_revisions
from intaglio.errors import AccountNotActive, NotFound, StoreUnavailable, Unauthenticated
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.lint import Accreditation

_log = logging.getLogger("intaglio.sessions")

_ISSUER = "intaglio"
_MOST_REMEMBERED = 10_000
_POLL_SECONDS = 0.2
_BELIEVED_SECONDS = 1.0
# No account's id begins so.
SANDBOXED = "sandbox/"
_NOTHING: Mapping[Failure, int | None] = MappingProxyType({})


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as of a moment ago: `certificate` is the SHA-256 of the client certificate's DER, hex.

    `expires` is in the account's time. Only accounts of test have a `sandbox`.
    """

    account: Account
    credential_id: str
    certificate: str
    policy: Policy
    expires: datetime
    rates: Mapping[Resource, Rate]
    # Those that were approved, whether or not they are over by now.
    mechanisms: tuple[verification.Mechanism, ...] = ()
    sandbox: Sandbox | None = None
    # Why nothing is issued under the account's profile, and which CAs may issue what is qualified, if it is.
    stop: Stop | None = None
    accreditations: tuple[Accredited, ...] = ()

    def time(self, now: datetime) -> datetime:
        """Return the account's time where it is `now`."""
        return now if self.sandbox is None else now + self.sandbox.ahead

    def beside(self, now: datetime) -> dict[str, datetime]:
        """Return what the ledger, which keeps real time, says beside it: the account's, where that is another."""
        return {} if self.sandbox is None or not self.sandbox.ahead else {"account_time": self.time(now)}

    @property
    def forced(self) -> Mapping[Failure, int | None]:
        """What the account wants to fail."""
        return _NOTHING if self.sandbox is None else self.sandbox.failures

    def accredited(self, issuer: str, now: datetime) -> Accreditation:
        """Return what an issuing CA is accredited for."""
        return max((one.level(now) for one in self.accreditations if one.issuer == issuer), default=Accreditation.NONE)

    @property
    def owner(self) -> str:
        """What the account's keys are known by in memory: those of before its clock moved are not found after it."""
        if self.sandbox is None:
            return self.account.id
        return f"{SANDBOXED}{self.account.id}/{self.sandbox.era}/{self.sandbox.ahead.total_seconds():.0f}"


class Sessions:
    """The tokens of one process; every process with the same secret knows the same tokens."""

    def __init__(
        self,
        commits: Commits,
        secret: bytes,
        lifetime: timedelta,
        rates: Mapping[Resource, Rate],
        on_change: Callable[[], None] = lambda: None,
        on_sandbox: Callable[[], None] = lambda: None,
    ) -> None:
        """Accounts have these `rates`.

        Call `on_change` whenever something administrative has changed, `on_sandbox` when a sandbox has.
        """
        self._on_change = on_change
        self._on_sandbox = on_sandbox
        self._commits = commits
        self._secret = secret
        self._lifetime = lifetime
        self._rates = rates
        self._callers: dict[str, Caller] = {}
        self._certificates: dict[str, credentials.ClientCertificate] = {}
        self._revision = -1
        self._sandboxes = -1
        self._asked = 0.0
        self._generation = 0
        # The same for what is of test accounts alone: whoever plays must not have production read anything anew.
        self._played = 0

    # Staying current -----------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Ask the database whether anything changed; forget everything if so."""
        asked = time.monotonic()
        revision, sandboxes = await self._commits.read(current_revisions)
        self._asked = asked
        if revision != self._revision:
            self._revision = revision
            self._generation += 1
            self._callers.clear()
            self._certificates.clear()
            self._on_change()
        if sandboxes != self._sandboxes:
            self._sandboxes = sandboxes
            self._played += 1
            # Nothing that is known of production is asked for again.
            self._callers = {token: known for token, known in self._callers.items() if known.sandbox is None}
            self._on_sandbox()

    async def watch(self, news: asyncio.Event) -> None:
        """Refresh for ever, at once when there is `news`."""
        while True:
            news.clear()
            try:
                await self.refresh()
            except StoreUnavailable as error:
                _log.warning("cannot ask for changes: %s", error)
                await asyncio.sleep(_POLL_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), _POLL_SECONDS)

    async def _current(self) -> None:
        if time.monotonic() - self._asked > _BELIEVED_SECONDS:
            await self.refresh()

    # Who calls -----------------------------------------------------------------------------------

    async def certificate(self, der: bytes, sha256: str) -> credentials.ClientCertificate:
        """Return the register's entry of a client certificate, valid or not; raises `Unauthenticated`.

        The handshake alone is not enough: OpenSSL accepts a certificate without an extended key usage.
        """
        await self._current()
        found = self._certificates.get(sha256)
        if found is None:
            generation = self._generation
            found = await self._commits.read(lambda c: credentials.by_fingerprint(c, sha256))
            if found is None:
                raise _no_certificate("it was not issued to an account of this service")
            _check_purpose(der)
            if generation == self._generation and len(self._certificates) < _MOST_REMEMBERED:
                self._certificates[sha256] = found
        return found

    def account_of(self, sha256: str) -> str | None:
        """Return whose a client certificate is, if that is known without asking the database."""
        found = self._certificates.get(sha256)
        return None if found is None else found.account_id

    @staticmethod
    def check_certificate(certificate: credentials.ClientCertificate, now: datetime) -> None:
        """Raise `Unauthenticated` unless the certificate is valid now: a connection outlives a revocation."""
        if certificate.revoked_at is not None:
            raise _no_certificate("it is revoked")
        if not certificate.not_before <= now <= certificate.not_after:
            raise _no_certificate("it is not valid now")

    async def login(
        self, api_key: str, api_secret: str, certificate: credentials.ClientCertificate, now: datetime
    ) -> tuple[str, Caller]:
        """Return a new token and whose it is; raises `Unauthenticated` or `AccountNotActive`."""
        await self._current()

        def look(connection: Connection) -> Caller:
            credential = credentials.authenticate(connection, api_key, api_secret)
            if not hmac.compare_digest(credential.account_id, certificate.account_id):
                raise Unauthenticated("The API key or secret is wrong.", {"api_key": "key or secret is wrong"})
            found = self._caller(connection, credential, certificate.sha256, now + self._lifetime, self._rates)
            return msgspec.structs.replace(found, expires=found.time(found.expires))

        caller = await self._commits.read(look)
        claims = {
            "iss": _ISSUER,
            "sub": caller.account.id,
            "cid": caller.credential_id,
            "jti": secrets.token_hex(16),
            "iat": int(caller.time(now).timestamp()),
            "exp": int(caller.expires.timestamp()),
            # RFC 8705 §3.1
            "cnf": {"x5t#S256": _thumbprint(certificate.sha256)},
        }
        if caller.sandbox is not None:
            claims["era"] = caller.sandbox.era
        return jwt.encode(claims, self._secret, algorithm="HS256"), caller

    async def caller(self, token: str, certificate: credentials.ClientCertificate, now: datetime) -> Caller:
        """Return whose token this is; raises `Unauthenticated` or `AccountNotActive`."""
        await self._current()
        known = self._callers.get(token)
        if known is None:
            known = await self._read(token)
        if known.time(now) >= known.expires:
            self._callers.pop(token, None)
            raise _no_token("it has expired: log in again")
        if not hmac.compare_digest(known.certificate, certificate.sha256):
            raise _no_token("it was issued to another client certificate")
        return known

    async def _read(self, token: str) -> Caller:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=_ISSUER,
                # Our own clock decides about exp, in `caller`.
                options={"require": ["exp", "sub", "cid", "cnf"], "verify_exp": False, "verify_iat": False},
            )
            fingerprint = _fingerprint(claims["cnf"]["x5t#S256"])
            credential_id, expires = str(claims["cid"]), datetime.fromtimestamp(int(claims["exp"]), tz=UTC)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise _no_token("it is not a token of this service") from error

        def look(connection: Connection) -> Caller:
            try:
                credential = credentials.find(connection, credential_id)
            except NotFound as error:  # a database older than the token
                raise _no_token("it is not a token of this service") from error
            if credential.state != credentials.State.ACTIVE:
                raise _no_token("its credential is revoked")
            found = self._caller(connection, credential, fingerprint, expires, self._rates)
            # What was made while the account's clock was ahead would, after it was set back, be good for too long.
            if found.sandbox is not None and claims.get("era") != found.sandbox.era:
                raise _no_token("its account's clock was set back since: log in again")
            return found

        generation, played = self._generation, self._played
        found = await self._commits.read(look)
        if generation == self._generation and (found.sandbox is None or played == self._played):
            if len(self._callers) >= _MOST_REMEMBERED:
                self._callers.clear()
            self._callers[token] = found
        return found

    @staticmethod
    def _caller(
        connection: Connection,
        credential: credentials.Credential,
        certificate: str,
        expires: datetime,
        rates: Mapping[Resource, Rate],
    ) -> Caller:
        account = register.find(connection, credential.account_id)
        if account.state != register.State.ACTIVE:
            raise AccountNotActive(f"The account is {account.state}.", {"account": str(account.state)})
        document, _ = register.policy_document(connection, account.id)
        profile = choice.of(connection, account)
        return Caller(
            account,
            credential.id,
            certificate,
            load(document, profile),
            expires.replace(microsecond=0),
            rates_of(connection, account.id, rates),
            tuple(verification.every(connection, account.id, verification.State.APPROVED)),
            sandbox.find(connection, account.id) if account.hierarchy == Hierarchy.TEST else None,
            profiles.stopped(connection, profile.name),
            tuple(accreditation.every(connection)) if profile.qualified else (),
        )


def _thumbprint(sha256: str) -> str:
    return jwt.utils.base64url_encode(bytes.fromhex(sha256)).decode("ascii")


def _fingerprint(thumbprint: object) -> str:
    return jwt.utils.base64url_decode(str(thumbprint)).hex()


def _check_purpose(der: bytes) -> None:
    try:
        certificate = x509.load_der_x509_certificate(der)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise _no_certificate("it has no extended key usage") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise _no_certificate("it is not for client authentication")


def _no_certificate(reason: str) -> Unauthenticated:
    return Unauthenticated("The client certificate is not accepted.", {"client_certificate": reason})


def _no_token(reason: str) -> Unauthenticated:
    return Unauthenticated("The access token is not accepted.", {"authorization": reason})
