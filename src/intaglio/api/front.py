"""What a configured front says of whom it speaks for: the client's certificate, and its address.

Only what comes over a listener of its own (`[front]`) is asked; anywhere else these fields are nobody's word.
"""

import base64
import hashlib
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

from intaglio.api.peer import CLIENT_CERTIFICATE, PeerCertificate

Networks = tuple[IPv4Network | IPv6Network, ...]

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


@lru_cache(1024)
def within(address: str, networks: Networks) -> bool:
    """Return whether an address is in one of the networks, also if IPv4 came over IPv6 (RFC 4291 §2.5.5.2)."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def plain_address(text: str) -> str:
    """Return an address as it is written for everybody; raises `ValueError` for one with a zone (`fe80::1%x`).

    A zone is text that whoever sends it chooses: it would make many addresses of one.
    """
    if "%" in text:
        raise ValueError("an address with a zone")
    return str(ip_address(text))


def byte_sequence(value: bytes) -> bytes:
    """Return the DER of `Client-Cert` as RFC 9440 §2.1 has it: a byte sequence of RFC 8941 §3.3.5."""
    if len(value) < 2 or not value.endswith(b":"):
        raise ValueError("not a byte sequence")
    return base64.b64decode(value[1:-1], validate=True)


def escaped_pem(value: bytes) -> bytes:
    """Return the DER of one certificate in percent-encoded PEM, nginx's `$ssl_client_escaped_cert`."""
    text = unquote_to_bytes(value).strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise ValueError("not a certificate in PEM")
    return base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)


@lru_cache(1024)
def presented(value: bytes) -> PeerCertificate:
    """Return the certificate that a front's `Client-Cert` holds; raises `ValueError`."""
    der = byte_sequence(value) if value.startswith(b":") else escaped_pem(value)
    if not der:
        raise ValueError("empty")
    return PeerCertificate(der, hashlib.sha256(der).hexdigest())


class Front:
    """ASGI middleware around a gate: takes the client's address from a front, and its certificate if it `vouches`.

    Without `peers` all come by a Unix socket: who may is the file system's to say.
    """

    def __init__(self, app: Any, peers: Networks | None, *, vouches: bool = False) -> None:
        self._app = app
        self._peers = peers
        self._vouches = vouches

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on as the client's own."""
        if scope["type"] == "http":
            front = self._is_front(scope["client"])
            if self._vouches:
                certificate, fault = _certificate(scope) if front else (None, "this is not the front's address")
                scope["extensions"] = {
                    **scope["extensions"],
                    CLIENT_CERTIFICATE: {"certificate": certificate, "fault": fault},
                }
            if front:
                _take_address(scope)
        await self._app(scope, receive, send)

    def _is_front(self, client: tuple[str, int] | None) -> bool:
        # A socket whose other end is gone already has no address any more.
        return self._peers is None or (client is not None and within(client[0], self._peers))


def _certificate(scope: Any) -> tuple[PeerCertificate | None, str]:
    sent = [value for name, value in scope["headers"] if name == b"client-cert"]
    if not sent:
        return None, "is missing"
    if len(sent) > 1:
        return None, "the front sent more than one Client-Cert"
    try:
        return presented(sent[0]), ""
    except ValueError:
        return None, "the front's Client-Cert is neither a byte sequence (RFC 9440) nor PEM"


def _take_address(scope: Any) -> None:
    """Put the last address of X-Forwarded-For, which the front itself wrote, in place of the front's."""
    sent = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not sent:
        return
    try:
        address = plain_address(sent[-1].rpartition(b",")[2].strip().decode("ascii"))
    except ValueError:
        return
    scope["client"] = (address, 0)
