"""A time-stamping authority: makes tokens whose genTime never goes back."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat import asn1

from intaglio.errors import ClockUntrusted
from intaglio.keys.algorithm import PrivateKey
from intaglio.pki.der import element, integer, object_identifier
from intaglio.timestamping.cms import Signer
from intaglio.timestamping.tsp import MessageImprint, StampRequest, read_request

_TST_INFO = "1.2.840.113549.1.9.16.1.4"


class Authority:
    """One TSA: its certificate, policy and stated accuracy; safe to use from several threads at once."""

    def __init__(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        key: PrivateKey,
        policy: str,
        accuracy: timedelta,
    ) -> None:
        self.certificate = certificate
        self.policy = policy
        self.accuracy = accuracy
        self._signer = Signer(certificate, chain, key, _TST_INFO)
        self._policy = object_identifier(policy)
        self._accuracy = _accuracy(accuracy)
        self._tsa = element(0xA0, element(0xA4, certificate.subject.public_bytes()))
        self._lock = threading.Lock()
        self._last = datetime(1970, 1, 1, tzinfo=UTC)

    def read(self, encoded: bytes) -> StampRequest:
        """Return a checked request; raises `StampRefused`."""
        return read_request(encoded, self.policy)

    def stamp(
        self,
        imprint: MessageImprint,
        serial: int,
        now: datetime,
        nonce: int | None = None,
        *,
        cert_req: bool = True,
        apart: bool = False,
    ) -> bytes:
        """Return a TimeStampToken (RFC 3161 §2.4.2), DER; raises `ClockUntrusted` when the clock stepped back.

        A time that is `apart` is that of a test account's own clock: it is not compared with what others were told.
        """
        self._check_validity(now)
        gen_time = now.astimezone(UTC) if apart else self._forward(now)
        content = element(
            0x30,
            b"\x02\x01\x01",
            self._policy,
            asn1.encode_der(imprint),
            integer(serial),
            _generalized(gen_time),
            self._accuracy,
            b"" if nonce is None else integer(nonce),
            self._tsa,
        )
        return self._signer.sign(content, gen_time, with_certificates=cert_req)

    def _check_validity(self, now: datetime) -> None:
        if not self.certificate.not_valid_before_utc <= now <= self.certificate.not_valid_after_utc:
            raise ClockUntrusted("the time is outside the validity of the TSA's certificate")

    def _forward(self, now: datetime) -> datetime:
        """Return `now`, or the last time told when `now` is a little before it.

        Requests overtake each other between taking their time and being stamped, so a step back within the stated
        accuracy is no untruth; beyond it nobody knows what time it is.
        """
        now = now.astimezone(UTC)
        with self._lock:
            if now < self._last - self.accuracy:
                raise ClockUntrusted(f"the clock went back from {self._last} to {now}")
            self._last = max(self._last, now)
            return self._last


def _generalized(value: datetime) -> bytes:
    """Return GeneralizedTime in milliseconds without trailing zeros (RFC 3161 §2.4.2)."""
    fraction = f".{value.microsecond // 1000:03}".rstrip("0").rstrip(".")
    return element(0x18, f"{value:%Y%m%d%H%M%S}{fraction}Z".encode())


def _accuracy(accuracy: timedelta) -> bytes:
    """Return Accuracy: seconds, [0] milliseconds, [1] microseconds, each only where it is not zero."""
    seconds, micros = divmod(accuracy // timedelta(microseconds=1), 1_000_000)
    millis, micros = divmod(micros, 1000)
    parts = [integer(seconds)] if seconds else []
    parts += [bytes((tag,)) + integer(value)[1:] for tag, value in ((0x80, millis), (0x81, micros)) if value]
    return element(0x30, *parts)
