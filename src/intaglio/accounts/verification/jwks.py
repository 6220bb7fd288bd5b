"""The keys of providers, fetched when they are needed and believed for a while: JWK sets (RFC 7517).

A provider that hangs, answers endlessly or not at all costs the requests that need its keys a few seconds, and no
others.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from intaglio.accounts.verification.token import decoded, refused
from intaglio.errors import ProviderUnavailable

_log = logging.getLogger("intaglio.verification")

# How long keys are believed; then they are asked for again, and if nobody answers they serve a while longer.
_FRESH_SECONDS = 600.0
_STALE_SECONDS = 3600.0
# A provider is not asked more often, whatever tokens say.
_AGAIN_SECONDS = 10.0
_PATIENCE_SECONDS = 5.0
_MOST_BYTES = 256 * 1024
_MOST_KEYS = 64
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_PUBLIC = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")
_KINDS: dict[str, type[RSAKey] | type[ECKey]] = {"RSA": RSAKey, "EC": ECKey}
_CURVES = {"ES256": "P-256", "ES384": "P-384"}


class Published(NamedTuple):
    """A key as its provider published it; None where nothing was said."""

    key: RSAKey | ECKey
    kid: str | None
    algorithm: str | None

    def serves(self, algorithm: str) -> bool:
        """Return whether tokens signed by `algorithm` can be of this key."""
        if self.algorithm not in {None, algorithm}:
            return False
        if isinstance(self.key, ECKey):
            return self.key.curve_name == _CURVES.get(algorithm)
        return algorithm.startswith(("RS", "PS"))


@dataclass
class _Held:
    """What is known of one place."""

    keys: list[Published] = field(default_factory=list)
    fetched: float = -_STALE_SECONDS
    asked: float = -_STALE_SECONDS
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Keysets:
    """The keys of providers, by the URI of each; `trusted` is a file of CAs (PEM) in place of the system's."""

    def __init__(self, trusted: Path | None = None) -> None:
        self._trusted = trusted
        self._held: dict[str, _Held] = {}
        self._client: httpx.AsyncClient | None = None

    async def find(self, uri: str, kid: str | None, algorithm: str) -> RSAKey | ECKey:
        """Return the key that a token is signed with; raises `NotVerified`, or `ProviderUnavailable`."""
        held = self._held.setdefault(uri, _Held())
        found = _pick(held.keys, kid, algorithm) if time.monotonic() - held.fetched < _FRESH_SECONDS else None
        if found is not None:
            return found
        async with held.lock:
            # Who waited finds what was fetched meanwhile.
            if time.monotonic() - held.asked > _AGAIN_SECONDS:
                held.asked = time.monotonic()
                try:
                    held.keys = _read(await self._fetch(uri))
                    held.fetched = time.monotonic()
                except (OSError, TimeoutError, ValueError, httpx.HTTPError, msgspec.MsgspecError) as error:
                    _log.warning("the keys at %s cannot be fetched: %s", uri, error or type(error).__name__)
        if time.monotonic() - held.fetched >= _STALE_SECONDS:
            raise ProviderUnavailable(f"there are no keys from {uri}")
        found = _pick(held.keys, kid, algorithm)
        if found is None:
            raise refused("is signed by no key that its issuer publishes")
        return found

    async def _fetch(self, uri: str) -> bytes:
        if self._client is None:
            # Reading the system's CAs takes a while.
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._trusted)
            # No proxy and no password from the environment; a redirect is an answer that is not taken.
            self._client = httpx.AsyncClient(verify=context, timeout=_PATIENCE_SECONDS, trust_env=False)
        found = b""
        async with (
            asyncio.timeout(_PATIENCE_SECONDS),
            self._client.stream("GET", uri, headers=_HEADERS) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"HTTP status {answer.status_code}")
            # A few octets can stand for gigabytes: what is compressed is not taken, so that what is counted is all.
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise ValueError("the answer is compressed")
            async for part in answer.aiter_raw():
                found += part
                if len(found) > _MOST_BYTES:
                    raise ValueError(f"more than {_MOST_BYTES} bytes")
        return found

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def _read(octets: bytes) -> list[Published]:
    class Keys(msgspec.Struct):
        keys: list[dict[str, Any]]

    # No key at all is an answer, too: so a provider takes back what it published.
    return list(_keys(msgspec.json.decode(octets, type=Keys).keys[:_MOST_KEYS]))


def _keys(told: Iterable[dict[str, Any]]) -> Iterable[Published]:
    """Yield the keys that can be used; what is for something else, unknown or weak is passed over (RFC 7517 §5)."""
    for one in told:
        kind = _KINDS.get(str(one.get("kty")))
        if kind is None or one.get("use", "sig") != "sig":
            continue
        try:
            if kind is RSAKey and not 2048 <= int.from_bytes(decoded(one["n"]), "big").bit_length() <= 8192:
                continue
            # Nothing but what is public: a provider that publishes its private key must not have it used here.
            key = kind.import_key({name: one[name] for name in _PUBLIC if name in one})
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        yield Published(key, one.get("kid"), one.get("alg"))


def _pick(keys: list[Published], kid: str | None, algorithm: str) -> RSAKey | ECKey | None:
    fitting = [one for one in keys if one.serves(algorithm) and kid in {None, one.kid}]
    # Without a name, only one can be meant.
    return fitting[0].key if len(fitting) == 1 or (kid is not None and fitting) else None
