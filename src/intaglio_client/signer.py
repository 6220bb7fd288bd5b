"""The service as pyHanko's signer and time-stamper."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Protocol, TypeVar

from asn1crypto import cms, x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign import signers
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from intaglio_client import session as calls
from intaglio_client.answers import Identity, Trustchain, certificates
from intaglio_client.client import Client
from intaglio_client.errors import UnexpectedAnswer, Unusable
from intaglio_client.exchange import Exchange
from intaglio_client.session import Session

T = TypeVar("T")


class Driver(Protocol):
    """Who carries exchanges out for a session: an `AsyncClient`, or a `Client` in another thread."""

    @property
    def session(self) -> Session:
        """The session that the exchanges are of."""
        ...

    async def drive(self, exchange: Exchange[T]) -> T:
        """Carry an exchange out."""
        ...


class Threaded:
    """Drives a blocking client's exchanges in a thread, for pyHanko, which is asynchronous."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def session(self) -> Session:
        """The client's session."""
        return self.client.session

    async def drive(self, exchange: Exchange[T]) -> T:
        """Carry an exchange out in a thread."""
        return await asyncio.to_thread(self.client.drive, exchange)


class ServiceSigner(signers.Signer):
    """A pyHanko signer whose key is an identity's, in the service."""

    def __init__(self, driver: Driver, identity: Identity, trustchain: Trustchain) -> None:
        certs = SimpleCertificateStore()  # type: ignore[no-untyped-call]
        certs.register_multiple(asn1_certificates(trustchain.certs))
        super().__init__(signing_cert=asn1_certificates((identity.signing_cert,))[0], cert_registry=certs)
        self.identity = identity
        self._driver = driver

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        """Return the service's signature over the SHA-256 digest of `data`, checked with the certificate."""
        _only_sha256(digest_algorithm)
        key = self.identity.certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise UnexpectedAnswer("The signing certificate's key is neither RSA nor EC.")
        if dry_run:
            # An ECDSA-Sig-Value is two integers and at most nine octets of DER around them (RFC 3279 §2.2.3).
            octets = (key.key_size + 7) // 8
            return bytes(octets if isinstance(key, rsa.RSAPublicKey) else 2 * octets + 9)
        digest = hashlib.sha256(data).digest()
        signature = await self._driver.drive(calls.sign(self._driver.session, self.identity, digest))
        check_signature(key, signature, digest)
        return signature


class ServiceTimeStamper(TimeStamper):
    """A pyHanko time-stamper over `/timestamp/{digest}`.

    It asks for one time-stamp more than it embeds, to learn the size and the certificates;
    shared by several documents, it does so once.
    """

    def __init__(self, driver: Driver) -> None:
        # The call has no place for a nonce, so none may be expected back.
        super().__init__(include_nonce=False)  # type: ignore[no-untyped-call]
        self._driver = driver
        self._first = asyncio.Lock()

    async def async_dummy_response(self, md_algorithm: str) -> cms.ContentInfo:
        """Return the token that stands for the others when sizes are estimated."""
        async with self._first:
            return await super().async_dummy_response(md_algorithm)

    async def async_roots(self) -> list[x509.Certificate]:
        """Return the roots that the service's tokens bring with them, for checking one's own signature."""
        token = await self.async_dummy_response("sha256")
        held = [each.chosen for each in token["content"]["certificates"]]
        return [each for each in held if isinstance(each, x509.Certificate) and each.self_issued]

    async def async_timestamp(self, message_digest: bytes, md_algorithm: str) -> cms.ContentInfo:
        """Return a time-stamp token for a SHA-256 digest, its imprint checked."""
        _only_sha256(md_algorithm)
        der = await self._driver.drive(calls.timestamp(self._driver.session, message_digest))
        try:
            token = cms.ContentInfo.load(der, strict=True)
            imprint = token["content"]["encap_content_info"]["content"].parsed["message_imprint"]
            stamped = imprint["hashed_message"].native
        except (ValueError, KeyError, TypeError, AttributeError) as unreadable:
            raise UnexpectedAnswer(f"The time-stamp token cannot be read: {unreadable}") from unreadable
        if stamped != message_digest:
            raise UnexpectedAnswer("The time-stamp token is for another digest than the one sent.")
        return token


def asn1_certificates(pem: Iterable[str]) -> list[x509.Certificate]:
    """Return PEM certificates as pyHanko takes them; raises `UnexpectedAnswer`."""
    found = [each for text in pem for each in certificates(text)]
    return [x509.Certificate.load(each.public_bytes(Encoding.DER)) for each in found]


def _only_sha256(algorithm: str) -> None:
    if algorithm.lower() != "sha256":
        raise Unusable(f"The service signs and stamps SHA-256 digests, not {algorithm}.")


def check_signature(key: object, signature: bytes, digest: bytes) -> None:
    """Check a signature over a SHA-256 digest by the key of its certificate; raises `UnexpectedAnswer`."""
    prehashed = utils.Prehashed(hashes.SHA256())
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            raise UnexpectedAnswer("The signing certificate's key is neither RSA nor EC.")
    except InvalidSignature as wrong:
        raise UnexpectedAnswer("The signature received does not fit the signing certificate.") from wrong
