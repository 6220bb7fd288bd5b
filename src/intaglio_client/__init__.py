"""Client of the signing service: the API v2 calls, signed PDFs, and a command line.

`Client` and `AsyncClient` need httpx only; `intaglio_client.pdf` and
`intaglio_client.verification` need pyHanko and are imported on their own.
"""

from intaglio_client.answers import Identity, Token, Trustchain
from intaglio_client.client import AsyncClient, Client
from intaglio_client.errors import ClientError
from intaglio_client.exchange import Retries
from intaglio_client.session import binding_nonce

__all__ = ["AsyncClient", "Client", "ClientError", "Identity", "Retries", "Token", "Trustchain", "binding_nonce"]
