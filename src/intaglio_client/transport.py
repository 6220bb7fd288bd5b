"""The way to the service: its address, mutual TLS, and HTTP failures in our own words."""

import ssl
from pathlib import Path
from typing import Final, Required, TypedDict

import httpx

from intaglio_client.errors import CertificateNotTaken, ServerNotTrusted, Unreachable, Unusable
from intaglio_client.exchange import Ask, Reply, Retries

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

# What OpenSSL calls the alerts with which a server turns a client certificate away (RFC 8446 §6.2).
CERTIFICATE_ALERTS: Final = (
    "CERTIFICATE_REQUIRED",
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_ACCESS_DENIED",
)


class Connection(TypedDict, total=False):
    """How to reach the service and who asks; paths are of PEM files.

    `client_cert` may hold the issuing CA after the client certificate; `client_key` is not
    needed when the key is in the same file. Without `server_ca` the system's CAs are
    trusted. `timeout` is in seconds, for connecting and for each wait for bytes.
    """

    api_key: Required[str]
    api_secret: Required[str]
    client_cert: Path | str | None
    client_key: Path | str | None
    client_key_passphrase: str | None
    server_ca: Path | str | None
    timeout: float
    retries: Retries


def base_path(base_url: str) -> httpx.URL:
    """Return the address that call paths are added to, ending in `/v2`; raises `Unusable`."""
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as unreadable:
        raise Unusable(f"The base URL cannot be read: {unreadable}") from unreadable
    if url.scheme != "https" or not url.host or not 0 < (url.port or 443) < 65536:
        raise Unusable("The base URL must start with https:// and name a host, as in https://sign.example:8443.")
    path = url.path.rstrip("/")
    return httpx.URL(scheme="https", host=url.host, port=url.port, path=path if path.endswith("/v2") else f"{path}/v2")


def tls_context(connection: Connection) -> ssl.SSLContext:
    """Return a context that shows the client certificate and trusts only the server's CA.

    Raises `Unusable` naming the file that is missing, not PEM, or does not fit the others.
    """
    server_ca = connection.get("server_ca")
    try:
        context = ssl.create_default_context(cafile=str(server_ca) if server_ca else None)
    except OSError as unreadable:
        raise Unusable(f"The server CA {server_ca} cannot be read: {_reason(unreadable)}") from unreadable
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = connection.get("client_cert"), connection.get("client_key")
    if certificate is None:
        raise Unusable("A client certificate (PEM) is needed: the service asks for one in the handshake.")
    try:
        # A passphrase is always handed over, be it empty: OpenSSL would ask at the terminal for one.
        context.load_cert_chain(certificate, key, lambda: connection.get("client_key_passphrase") or "")
    except OSError as unreadable:
        files = f"{certificate} and {key}" if key else f"{certificate}"
        raise Unusable(f"Client certificate and key ({files}) cannot be used: {_reason(unreadable)}") from unreadable
    return context


def request_for(base: httpx.URL, ask: Ask) -> httpx.Request:
    """Return the HTTP request that an exchange asks for."""
    headers = {"Accept": "application/json", "User-Agent": "intaglio-client", **ask.headers}
    return httpx.Request(ask.method, f"{base}{ask.path}", headers=headers, content=ask.body)


def reply_from(response: httpx.Response) -> Reply:
    """Return the response, read to its end, as the exchange gets it."""
    return Reply(response.status_code, dict(response.headers), response.content)


def unreachable(failure: httpx.TransportError, base: httpx.URL) -> Unreachable:
    """Return in our own words why no response came from the service."""
    sent = not isinstance(failure, NEVER_SENT)
    where = f"{base.host}:{base.port or 443}"
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerNotTrusted(f"{where} is not trusted: {cause.verify_message}.", sent=False)
        if isinstance(cause, ssl.SSLError) and any(alert in str(cause) for alert in CERTIFICATE_ALERTS):
            return CertificateNotTaken(f"{where} did not take the client certificate: {_reason(cause)}", sent=False)
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"No answer from {where}: {str(failure) or type(failure).__name__}", sent=sent)


def _reason(failure: OSError) -> str:
    if isinstance(failure, ssl.SSLError):
        if failure.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate."
        # OpenSSL says no more than "PEM lib" of all that can be wrong with a PEM file.
        return failure.reason or "not PEM, or the passphrase of the key is missing or wrong."
    return f"{failure.strerror or failure}."
