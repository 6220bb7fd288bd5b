"""Who is at the other end of a connection, as the listener hands it to the door."""

import msgspec

# Keys of the ASGI scope's extensions: of the one that holds {"gone": whether the connection has ended}, and of the one
# that holds {"certificate": PeerCertificate | None, "fault": why there is none}.
CONNECTION = "intaglio.connection"
CLIENT_CERTIFICATE = "intaglio.client_certificate"


class PeerCertificate(msgspec.Struct, frozen=True):
    """The certificate of the TLS peer; `sha256` over its DER, hex."""

    der: bytes
    sha256: str


class Gone(Exception):
    """The connection ended before the whole request had come: there is nothing to answer, and nobody."""
