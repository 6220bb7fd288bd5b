"""The TLS context of a listener, and what a client is told when its handshake fails."""

import os
import secrets
import ssl
from contextvars import ContextVar
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from intaglio.keys.algorithm import PrivateKey

# Why the handshake that runs in this context failed; who starts one sets an empty list.
failures: ContextVar[list[ssl.SSLError]] = ContextVar("failures")


class _Handshake(ssl.SSLObject):
    """One end of a handshake that tells its peer why it fails.

    Event loops close a failed handshake before its alert (RFC 8446 §6.2) is sent, and a client whose certificate is
    missing or foreign would see a connection that closes for no reason.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake; a failure is first told to the peer and raised when it has answered."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as failure:
            failures.get([]).append(failure)
            # OpenSSL has no alert for who does not speak TLS at all.
            if failure.reason == "HTTP_REQUEST":
                raise
            self._failure = failure
            # Told to wait for the peer, the loop sends what is due; the time for the handshake goes on.
            raise ssl.SSLWantReadError from failure


def tls_context(chain: bytes, key: PrivateKey, client_ca: Path) -> ssl.SSLContext:
    """Return a context that demands a client certificate of `client_ca`; TLS 1.2 and 1.3. `chain` is PEM.

    Python's ssl reads the private key from a file only. It gets one in memory (memfd), encrypted under a passphrase
    that lives for this call, so that the key is never in a file system and never unencrypted outside the process.

    No tickets are issued, so TLS 1.3 resumes nothing. Within TLS 1.2 a session may still be resumed by its id, from
    this process's memory, which Python's ssl cannot turn off: a handshake says who somebody is, and whether that
    certificate is still accepted is for the application to ask at each request.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Handshake
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=client_ca)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    passphrase = secrets.token_hex(16).encode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    with os.fdopen(os.memfd_create("tls", os.MFD_CLOEXEC), "wb") as file:
        file.write(chain + pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=passphrase)
    return context
