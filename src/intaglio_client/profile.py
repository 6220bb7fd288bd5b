"""Connection settings from a profile file, with paths relative to it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from intaglio_client.errors import Unusable
from intaglio_client.transport import Connection

S = TypeVar("S")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach the service, as in a TOML or JSON file; every key may be missing.

    `credentials` is a JSON file of `api_key` and `api_secret`; a passphrase never stands in a
    file: `client_key_passphrase_env` names the environment variable that holds it.
    `identity` is what an identity request says when the command line adds nothing.
    """

    base_url: str | None = None
    credentials: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    client_key_passphrase_env: str | None = None
    server_ca: Path | None = None
    identity: dict[str, Any] = {}

    def over(self, other: "Profile") -> "Profile":
        """Return this profile, with what it leaves out taken from `other`."""
        mine = msgspec.structs.asdict(self)
        return Profile(**{key: mine[key] or value for key, value in msgspec.structs.asdict(other).items()})


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json`, as the service hands it out."""

    api_key: str
    api_secret: str


def read_profile(path: Path) -> Profile:
    """Return the profile in a `.toml` or `.json` file; raises `Unusable` naming what is wrong."""
    content = read_file(path, "profile")
    try:
        document = tomllib.loads(content.decode()) if path.suffix.lower() == ".toml" else msgspec.json.decode(content)
        profile = msgspec.convert(document, Profile, dec_hook=lambda kind, text: kind(text))
    except (ValueError, msgspec.MsgspecError) as unreadable:
        raise Unusable(f"The profile {path} cannot be read: {unreadable}") from unreadable
    folder = path.parent
    return msgspec.structs.replace(
        profile,
        credentials=_from(folder, profile.credentials),
        client_cert=_from(folder, profile.client_cert),
        client_key=_from(folder, profile.client_key),
        server_ca=_from(folder, profile.server_ca),
    )


def connection(profile: Profile, environment: Mapping[str, str]) -> tuple[str, Connection]:
    """Return base URL and connection; raises `Unusable` naming the first thing that is missing.

    `INTAGLIO_API_KEY` with `INTAGLIO_API_SECRET` replace the credentials file, and
    `INTAGLIO_CLIENT_KEY_PASSPHRASE` is the passphrase unless the profile names another variable.
    """
    if profile.base_url is None:
        raise Unusable("No base URL: give --base-url, INTAGLIO_BASE_URL or base_url in a profile.")
    if profile.client_cert is None:
        raise Unusable("No client certificate: give --client-cert, INTAGLIO_CLIENT_CERT or client_cert in a profile.")
    credentials = _credentials(profile, environment)
    variable = profile.client_key_passphrase_env or "INTAGLIO_CLIENT_KEY_PASSPHRASE"
    return profile.base_url, Connection(
        api_key=credentials.api_key,
        api_secret=credentials.api_secret,
        client_cert=profile.client_cert,
        client_key=profile.client_key,
        client_key_passphrase=environment.get(variable),
        server_ca=profile.server_ca,
    )


def read_file(path: Path, what: str) -> bytes:
    """Return a file's content; `what` names it in the `Unusable` raised."""
    try:
        return path.read_bytes()
    except OSError as unreadable:
        raise Unusable(f"The {what} {path} cannot be read: {unreadable.strerror}.") from unreadable


def read_json(path: Path, what: str, shape: type[S]) -> S:
    """Return a JSON file's content in that shape; `what` names it in the `Unusable` raised."""
    try:
        return msgspec.json.decode(read_file(path, what), type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as unreadable:
        raise Unusable(f"The {what} {path} cannot be read: {unreadable}") from unreadable


def _credentials(profile: Profile, environment: Mapping[str, str]) -> Credentials:
    key, secret = environment.get("INTAGLIO_API_KEY"), environment.get("INTAGLIO_API_SECRET")
    if key and secret:
        return Credentials(key, secret)
    if profile.credentials is None:
        raise Unusable(
            "No API credential: give --credentials, INTAGLIO_CREDENTIALS, credentials in a profile, "
            "or INTAGLIO_API_KEY and INTAGLIO_API_SECRET."
        )
    return read_json(profile.credentials, "credentials file", Credentials)


def _from(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path.expanduser()
