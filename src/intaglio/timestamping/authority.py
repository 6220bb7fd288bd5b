"""A time-stamping authority: makes tokens that tell the time that it is given."""

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
    ) -> bytes:
        """Return a TimeStampToken (RFC 3161 §2.4.2), DER; raises `ClockUntrusted` outside the certificate's time."""
        self._check_validity(now)
        gen_time = now.astimezone(UTC)
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
