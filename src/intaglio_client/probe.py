"""One walk through everything a signer needs, from outside and over the wire alone: is the service well?"""

import asyncio
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from pyhanko.keys import load_certs_from_pemder_data
from pyhanko.sign.validation.generic_cms import validate_tst_signed_data
from pyhanko_certvalidator import CertificateValidator, ValidationContext

from intaglio_client import revocation
from intaglio_client.answers import Identity, certificates
from intaglio_client.client import Client
from intaglio_client.errors import UnexpectedAnswer, Unusable
from intaglio_client.exchange import Retries
from intaglio_client.signer import asn1_certificates, check_signature
from intaglio_client.transport import Connection, base_path, tls_context


class Outcome(StrEnum):
    """How a step ended; `SKIPPED`: it could not be tried because another went wrong, or it does not apply."""

    OK = "ok"
    SLOW = "slow"
    WRONG = "wrong"
    SKIPPED = "skipped"


class Step(msgspec.Struct, frozen=True):
    """One step: what it found, or what is wrong."""

    name: str
    outcome: Outcome
    milliseconds: float
    detail: str


class Probed(msgspec.Struct, frozen=True):
    """What a probe found, each step in its order; `at` is UTC."""

    base_url: str
    at: datetime
    steps: tuple[Step, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong or slow."""
        return all(step.outcome in {Outcome.OK, Outcome.SKIPPED} for step in self.steps)

    @property
    def milliseconds(self) -> float:
        """How long all steps took."""
        return round(sum(step.milliseconds for step in self.steps), 1)


class _DoesNotApplyError(Exception):
    """There is nothing to try, and nothing wrong with that."""


class _Walk:
    """What the steps learn from each other; each returns what it found, and raises what is wrong."""

    def __init__(
        self, url: str, options: Connection, anchors: list[asn1_x509.Certificate], request: Mapping[str, Any]
    ) -> None:
        self._options = options
        self._address = base_path(url)
        self._context = tls_context(options)
        self._anchors = anchors
        self._request = request
        self._timeout = options.get("timeout", 30.0)
        self.client = Client(url, **options)
        self._places: list[Any] = []
        self._socket: socket.socket | None = None
        self._identity: Identity | None = None
        self._path: tuple[str, ...] = ()

    def resolve(self) -> str:
        self._places = socket.getaddrinfo(self._address.host, self._address.port or 443, type=socket.SOCK_STREAM)
        return ", ".join(sorted({str(place[4][0]) for place in self._places}))

    def connect(self) -> str:
        self._socket = socket.create_connection((self._address.host, self._address.port or 443), self._timeout)
        host, port = self._socket.getpeername()[:2]
        return f"{host} port {port}"

    def tls(self) -> str:
        assert self._socket is not None  # noqa: S101 - the step before has made it
        with self._context.wrap_socket(self._socket, server_hostname=self._address.host) as connection:
            der = connection.getpeercert(binary_form=True) or b""
            ends = x509.load_der_x509_certificate(der).not_valid_after_utc
            return f"{connection.version()}, the server's certificate ends {ends:%Y-%m-%d}"

    def login(self) -> str:
        return f"token good until {self.client.login().good_until:%H:%M:%S} UTC"

    def identity(self) -> str:
        self._identity = self.client.identity(self._request, fresh=True)
        return f"serial number {self._identity.certificate.serial_number:x}"

    def sign(self) -> str:
        digest = secrets.token_bytes(32)
        signature = self.client.sign(self._made, digest)
        check_signature(self._made.certificate.public_key(), signature, digest)
        return f"{len(signature)} bytes, verified with the certificate"

    def chain(self) -> str:
        self._path = self.client.certificate_path()
        chain = asn1_certificates((*self._path, self._made.signing_cert))
        validator = CertificateValidator(chain[-1], chain[:-1], self._validation())
        found = asyncio.run(validator.async_validate_path())
        return f"{len(list(found.iter_certs(include_root=True)))} certificates to a trusted root"

    def timestamp(self) -> str:
        digest = secrets.token_bytes(32)
        token = cms.ContentInfo.load(self.client.timestamp(digest), strict=True)
        status = asyncio.run(validate_tst_signed_data(token["content"], self._validation(), lambda _: digest))
        if not (status["intact"] and status["valid"]):
            raise UnexpectedAnswer("The time-stamp does not fit its digest, or its signature does not hold.")
        if status.get("trust_problem_indic") is not None or status.get("validation_path") is None:
            raise UnexpectedAnswer("The time-stamp's certificate does not chain to a trusted root.")
        apart = status["timestamp"] - datetime.now(UTC)
        if abs(apart) > revocation.TOLERANCE:
            raise UnexpectedAnswer(f"The time-stamp's time and this computer's clock are {apart} apart.")
        return f"verified, its time is {_milliseconds(apart):+.0f} ms from this computer's clock"

    def ocsp(self) -> str:
        now = datetime.now(UTC)
        urls = revocation.responders(self._made.certificate)
        if not urls:
            raise _DoesNotApplyError("the certificate names no responder")
        told = [revocation.ask(url, self._made.certificate, self._issuer, now, self._timeout) for url in urls]
        return f"good, as of {_milliseconds(now - min(told)) / 1000:.0f} s ago"

    def crl(self) -> str:
        now = datetime.now(UTC)
        urls = revocation.lists(self._made.certificate)
        if not urls:
            raise _DoesNotApplyError("the certificate names no CRL")
        ends = [revocation.look(url, self._made.certificate, self._issuer, now, self._timeout) for url in urls]
        return f"current until {min(ends):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def _made(self) -> Identity:
        assert self._identity is not None  # noqa: S101 - the step before has made it
        return self._identity

    @property
    def _issuer(self) -> x509.Certificate:
        return certificates(self._path[0])[0]

    def _validation(self) -> ValidationContext:
        # Status is a step of its own.
        return ValidationContext(
            trust_roots=self._anchors,
            allow_fetching=False,
            revocation_mode="none",
            time_tolerance=revocation.TOLERANCE,
        )


# Each with what must have gone well before it.
_STEPS: Final = (
    ("resolve", None),
    ("connect", "resolve"),
    ("tls", "connect"),
    ("login", "tls"),
    ("identity", "login"),
    ("sign", "identity"),
    ("chain", "identity"),
    ("timestamp", "login"),
    ("ocsp", "chain"),
    ("crl", "chain"),
)


def probe(
    base_url: str,
    options: Connection,
    trust: Sequence[bytes],
    request: Mapping[str, Any],
    *,
    warn_milliseconds: float | None = None,
    with_crl: bool = False,
) -> Probed:
    """Return how each step went; nothing is tried twice, and one that takes longer than the limit is slow.

    `trust` are the roots (PEM or DER), `request` is the identity asked for. It spends one signature and one time-stamp
    of the account. Raises `Unusable` when it cannot be tried: a file, an address, a root.
    """
    # What pyHanko finds wrong the steps say, once and in words.
    for name in ("pyhanko", "pyhanko_certvalidator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    walk = _Walk(base_url, Connection(**{**options, "retries": Retries(attempts=1)}), _anchors(trust), request)
    steps: dict[str, Step] = {}
    at = datetime.now(UTC)
    with walk.client:
        for name, before in _STEPS:
            if name == "crl" and not with_crl:
                continue
            if before is not None and steps[before].outcome in {Outcome.WRONG, Outcome.SKIPPED}:
                steps[name] = Step(name, Outcome.SKIPPED, 0.0, f"needs {before}")
            else:
                steps[name] = _taken(name, getattr(walk, name), warn_milliseconds)
    return Probed(base_url, at, tuple(steps.values()))


def _taken(name: str, work: Callable[[], str], limit: float | None) -> Step:
    began = time.perf_counter()
    try:
        outcome, detail = Outcome.OK, work()
    except _DoesNotApplyError as nothing:
        outcome, detail = Outcome.SKIPPED, str(nothing)
    except ssl.SSLError as failure:
        outcome, detail = Outcome.WRONG, getattr(failure, "verify_message", None) or failure.reason or str(failure)
    except Exception as failure:  # whatever it is, the service is not as it should be
        outcome, detail = Outcome.WRONG, str(failure) or type(failure).__name__
    took = round((time.perf_counter() - began) * 1000, 1)
    if outcome is Outcome.OK and limit is not None and took > limit:
        outcome = Outcome.SLOW
    return Step(name, outcome, took, detail)


def as_text(found: Probed) -> str:
    """Return a first line as monitoring plugins write it, with timings behind the bar, and a line for each step."""
    bad = [step for step in found.steps if step.outcome in {Outcome.WRONG, Outcome.SLOW}]
    told = ", ".join(f"{step.name} {step.outcome}" for step in bad) or f"{len(found.steps)} steps"
    times = " ".join(
        f"{step.name}={step.milliseconds}ms" for step in found.steps if step.outcome is not Outcome.SKIPPED
    )
    first = f"{'OK' if found.well else 'WRONG'}: {told} in {found.milliseconds} ms | {times}"
    lines = (f"{step.name:<10} {step.outcome:<8} {step.milliseconds:>8} ms  {step.detail}" for step in found.steps)
    return "\n".join((first, *lines))


def as_json(found: Probed) -> bytes:
    """Return the same as JSON."""
    return msgspec.json.format(
        msgspec.json.encode({"well": found.well, "milliseconds": found.milliseconds, **msgspec.to_builtins(found)})
    )


def _anchors(trust: Sequence[bytes]) -> list[asn1_x509.Certificate]:
    try:
        found = list(load_certs_from_pemder_data(b"\n".join(trust))) if trust else []
    except ValueError as unreadable:
        raise Unusable(f"The trusted certificate cannot be read: {unreadable}") from unreadable
    if not found:
        raise Unusable("At least one trusted root certificate is needed.")
    return found


def _milliseconds(time: timedelta) -> float:
    return time / timedelta(milliseconds=1)
