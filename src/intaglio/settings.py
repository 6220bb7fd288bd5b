"""What an operator decides, read once from `HOME/intaglio.toml`.

Unknown keys refuse start-up: a misspelt limit must not silently be no limit.
"""

import os
import re
import socket
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from intaglio.errors import Conflict, ContentRefused, KeyUnavailable

FILE_NAME = "intaglio.toml"
# What says where a secret is.
_SECRET = frozenset({"env", "file", "credential"})
# user:password@ before the host, or a parameter of libpq.
_PASSWORD = re.compile(r"^//[^/?#@:]*:[^@]*@|[?&]password=")

Algorithm = Literal["rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384"]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


def _host() -> str:
    return re.sub("[^A-Za-z0-9._-]", "-", socket.gethostname())[:48] or "node"


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mutual-TLS listener of the API."""

    bind: str = "127.0.0.1"
    port: Port = 8443


class PublicSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain-HTTP listener: OCSP, CRLs, issuer certificates, RFC 3161.

    `url` is written into certificates: it must reach this listener for years.
    """

    url: str
    bind: str = "127.0.0.1"
    port: Port = 8080


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the state lives: a URL of SQLite or PostgreSQL, or `env:NAME` or `file:PATH` that holds it.

    Paths that are relative are relative to the home folder.
    """

    url: str = "sqlite:///intaglio.db"
    # How long a request waits for a database that hangs.
    patience_seconds: Annotated[int, msgspec.Meta(ge=1, le=300)] = 10


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`master_key` is 32 bytes as 64 hex characters, in `file:PATH` of the home, `env:` or `credential:NAME`."""

    master_key: str = "file:master.key"
    live_keys: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    signing_threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    # How long one sealing key seals identities' keys; it is destroyed when the last of them is over.
    epoch_minutes: Annotated[int, msgspec.Meta(ge=1, le=24 * 60)] = 60
    # Where the secrets of epochs lie in software custody; not to be backed up, and better in memory than on a disk.
    epoch_folder: str = "keys/epochs"


class MarkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pool is filled up to `high` keys as soon as fewer than `low` are ready."""

    low: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    high: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

    def __post_init__(self) -> None:
        """Refuse marks in the wrong order."""
        if self.low > self.high:
            raise ValueError("low must not be above high")


class PoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identities' keys made ahead, by algorithm; what has no marks is made on demand.

    `makers` are one less than this process has cores if not said, and at most 8: with no core left to itself, a
    signature now and then waits a time slice. 0 makes none ahead here: another node does. A key that waited for
    `age_minutes` is given up.
    """

    marks: dict[Algorithm, MarkSettings] = msgspec.field(default_factory=lambda: {"rsa-2048": MarkSettings(32, 128)})
    makers: Annotated[int, msgspec.Meta(ge=0, le=256)] = min(max(1, len(os.sched_getaffinity(0)) - 1), 8)
    age_minutes: Annotated[int, msgspec.Meta(ge=2, le=24 * 60)] = 60
    when_empty: Literal["generate", "refuse"] = "generate"
    wait_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 5


class HsmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A PKCS#11 token, on which new keys are then made, and nowhere else.

    It is said by its module's file, its label or serial number, and its PIN as `file:PATH` or `env:NAME`.
    `timeout_seconds` is how long work waits for the token before it counts as hung. Identities' keys are `wrapped` (the
    token holds one key for each epoch) or `resident` (it holds each); it keeps `live_keys` open for one process.
    """

    module: Annotated[str, msgspec.Meta(min_length=1)]
    pin: Annotated[str, msgspec.Meta(pattern="^(file|env|credential):.+")]
    token_label: str | None = None
    token_serial: str | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 10
    identities: Literal["wrapped", "resident"] = "wrapped"
    live_keys: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256

    def __post_init__(self) -> None:
        if self.token_label is None and self.token_serial is None:
            raise ValueError("one of token_label and token_serial must say which token it is")


class TokenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Access tokens of the API."""

    lifetime_seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 1800


class StatusSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long revocation status stays current, in hours.

    CA and TSA status is long-lived on purpose: what was embedded in a document is all that an
    offline validator will ever see of it.
    """

    leaf_hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 30)] = 24
    authority_hours: Annotated[int, msgspec.Meta(ge=1, le=24 * 366)] = 24 * 180
    # When of a signer's certificate that ended nothing is kept but its serial number; 0: never.
    archive_days: Annotated[int, msgspec.Meta(ge=0, le=36_525)] = 2557

    def __post_init__(self) -> None:
        if self.archive_days == 1:
            # A serial number may wait for a day before it is used.
            raise ValueError("archive_days must be 2 or more, or 0")


class TimestampSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time-stamping authority's promise: accuracy in milliseconds."""

    accuracy_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 1000


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the clock is held against: time servers, each HOST or HOST:PORT, of which so many must `agree`, or chrony.

    By default it is more than half. `chronyd` is where the daemon takes commands: a socket's path, or an address. What
    was said last counts for `silent_seconds`, in which the machine's oscillator is off by `drift_ppm` at most.
    """

    source: Literal["none", "chrony", "ntp"] = "none"
    servers: list[str] = []
    agree: int | None = None
    chronyd: Annotated[str, msgspec.Meta(pattern="^[^-]")] | None = None
    check_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 64
    silent_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    drift_ppm: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 100

    @property
    def needed(self) -> int:
        """How many servers must agree."""
        return len(self.servers) // 2 + 1 if self.agree is None else self.agree

    def __post_init__(self) -> None:
        if self.source == "ntp" and (len(set(self.servers)) < 3 or len(set(self.servers)) < len(self.servers)):
            # Of two that disagree nobody knows which one lies.
            raise ValueError("servers must name three time servers or more, each once")
        if self.source != "ntp" and self.servers:
            raise ValueError("servers are asked by source = 'ntp'")
        if self.source == "ntp" and not len(self.servers) // 2 < self.needed <= len(self.servers):
            raise ValueError("agree must be more than half of the servers, and not more than there are")
        if self.silent_seconds < self.check_seconds:
            raise ValueError("silent_seconds must not be less than check_seconds")


class ProfileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What profiles of signers say of the operator.

    `cps` is where the certification practice statement is, `disclosures` where the PKI disclosure statements are, by
    language (ISO 639-1; EN 319 412-5 §4.3.4 wants https).
    """

    # How often pkilint looks at the certificates issued last; 0: never.
    sample_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300
    cps: Annotated[str, msgspec.Meta(pattern="^https?://[!-~]{3,1000}$")] | None = None
    disclosures: dict[
        Annotated[str, msgspec.Meta(pattern="^[a-z]{2}$")],
        Annotated[str, msgspec.Meta(pattern="^https://[!-~]{3,1000}$")],
    ] = {}


class FrontSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proxy in front. One that ends TLS has a listener of its own here: a Unix socket or a port with mutual TLS.

    `socket` and `ca_file` are relative to the home. `peers` are its addresses, and networks: from them alone is it told
    whose certificate and whose address it saw. Connections of `proxy_protocol` to the API begin with a PROXY header.
    """

    socket: str | None = None
    bind: str = "127.0.0.1"
    port: Port | None = None
    ca_file: str | None = None
    peers: list[str] = []
    proxy_protocol: list[str] = []

    def __post_init__(self) -> None:
        if self.socket is not None and self.port is not None:
            raise ValueError("it is either a socket or a port")
        if self.port is not None and (self.ca_file is None or not self.peers):
            raise ValueError("a port needs ca_file and peers: by what the front is known")
        for one in (*self.peers, *self.proxy_protocol):
            ip_network(one)


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Structured logs on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    access: bool = True


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain-HTTP listener of `/healthz` and `/readyz` alone, for who spreads load; without a port there is none."""

    bind: str = "127.0.0.1"
    port: Port | None = None


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain-HTTP listener of `/metrics`, for Prometheus; without a port there is none."""

    bind: str = "127.0.0.1"
    port: Port | None = None


class VerificationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identity providers, whose keys are fetched: `ca_file` (PEM) in place of the system's CAs, relative to the home.

    Their tokens are kept for `evidence_days`. With `loopback_http` accounts of production, too, may have providers on
    this machine that speak plain HTTP.
    """

    ca_file: str | None = None
    loopback_http: bool = False
    evidence_days: Annotated[int, msgspec.Meta(ge=1, le=36_525)] = 2557


class RateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many a second in the long run, and `burst` at once."""

    per_second: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class RatesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast each account may be, over all processes and nodes.

    `failed_logins` is of one client certificate from one address, and of each process.
    """

    signatures: RateSettings = RateSettings(500, 1000)
    timestamps: RateSettings = RateSettings(500, 1000)
    identities: RateSettings = RateSettings(25, 250)
    logins: RateSettings = RateSettings(1, 100)
    failed_logins: RateSettings = RateSettings(0.1, 20)


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces by OpenTelemetry: `endpoint` takes OTLP over HTTP, of all requests the share `sample_ratio` is recorded.

    `traceparent` is what becomes of one that a caller sends (W3C Trace Context).
    """

    endpoint: Annotated[str, msgspec.Meta(pattern="^https?://[!-~]{3,1000}$")] | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    traceparent: Literal["ignore", "link", "parent"] = "ignore"


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signed heads of the ledger, and where they go; files and folders are relative to the home.

    `heads` is the folder that they are appended to, `webhook` is where the newest is posted to. `foreign_tsa` stamps
    heads, too, by certificates under `foreign_tsa_roots` (PEM). `ca_file` (PEM) is in place of the system's CAs.
    """

    heads: str = "heads"
    webhook: Annotated[str, msgspec.Meta(pattern="^https://[!-~]{3,1000}$")] | None = None
    foreign_tsa: Annotated[str, msgspec.Meta(pattern="^https?://[!-~]{3,240}$")] | None = None
    foreign_tsa_roots: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if (self.foreign_tsa is None) != (self.foreign_tsa_roots is None):
            raise ValueError("foreign_tsa and foreign_tsa_roots need each other")


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one process."""

    waiting_writes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2048
    connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2048
    in_flight: Annotated[int, msgspec.Meta(ge=2, le=1_000_000)] = 128
    handshakes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    drain_seconds: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 15


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    name: str
    hosts: Annotated[list[str], msgspec.Meta(min_length=1)]
    public: PublicSettings
    # What this machine is called in the ledger.
    node: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,48}$")] = msgspec.field(default_factory=_host)
    # The arc for examples (RFC 5612): certificates that others are to rely on need the operator's own.
    policy_arc: str = "1.3.6.1.4.1.32473"
    # Of the operator, ISO 3166-1 alpha-2: the C of the names of authorities made from now on.
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] | None = None
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    keys: KeySettings = KeySettings()
    pool: PoolSettings = PoolSettings()
    tokens: TokenSettings = TokenSettings()
    status: StatusSettings = StatusSettings()
    timestamp: TimestampSettings = TimestampSettings()
    clock: ClockSettings = ClockSettings()
    profiles: ProfileSettings = ProfileSettings()
    log: LogSettings = LogSettings()
    health: HealthSettings = HealthSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: LimitSettings = LimitSettings()
    rates: RatesSettings = RatesSettings()
    verification: VerificationSettings = VerificationSettings()
    hsm: HsmSettings | None = None
    front: FrontSettings | None = None

    @property
    def token_lifetime(self) -> timedelta:
        """How long an access token lives."""
        return timedelta(seconds=self.tokens.lifetime_seconds)


def load(home: Path) -> Settings:
    """Read the settings of `home`; raises `Conflict` when there are none, `ContentRefused` on a bad key."""
    path = home / FILE_NAME
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"No Intaglio home at {home}: run 'intaglio init --home {home}' first."
        raise Conflict(message, {"home": "not initialised"}) from error
    try:
        return msgspec.toml.decode(raw, type=Settings)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContentRefused(f"{path}: {error}", {"settings": str(error)}) from error


def fault_of_database(reference: str) -> str | None:
    """Return what keeps a database's URL, or where it is read from, out of the settings: a password, above all."""
    scheme, _, rest = reference.partition(":")
    if scheme in _SECRET and rest:
        return None
    if scheme not in {"sqlite", "postgresql"} or not rest.startswith("//"):
        return "must be sqlite:///PATH, postgresql://…, env:NAME, file:PATH or credential:NAME"
    if _PASSWORD.search(rest):
        return "has a password in it: put the URL into a file (file:PATH, mode 0600) or a variable (env:NAME)"
    return None


def database_url(settings: Settings, home: Path) -> str:
    """Return the URL, relative SQLite paths resolved against `home`; raises `ContentRefused` or `KeyUnavailable`."""
    url = settings.database.url
    fault = fault_of_database(url)
    if fault is not None:
        raise ContentRefused("The database URL cannot be used.", {"database.url": fault})
    prefix = "sqlite:///"
    if url.startswith(prefix) and not url.startswith("sqlite:////"):
        return prefix + str((home / url.removeprefix(prefix)).resolve())
    if url.partition(":")[0] in _SECRET:
        found = _secret(url, home, "database.url", "the database's URL").strip()
        if not found:
            raise ContentRefused("The database URL cannot be used.", {"database.url": f"there is nothing at {url}"})
        return found
    return url


def master_key(settings: Settings, home: Path) -> bytes:
    """Return the 32 bytes of the master key; raises `KeyUnavailable` when it cannot be read."""
    reference = settings.keys.master_key
    text = _secret(reference, home, "keys.master_key", "the master key").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise KeyUnavailable(f"the master key at {reference} is not 64 hex characters")
    return key


def hsm_pin(reference: str, home: Path) -> str:
    """Return the PIN at `file:PATH` (one line, relative to `home`) or `env:NAME`; raises `KeyUnavailable`."""
    pin = _secret(reference, home, "hsm.pin", "the PIN").rstrip("\r\n")
    if not pin or "\n" in pin:
        raise KeyUnavailable(f"the PIN at {reference} is not one line of text")
    return pin


def secret_references(settings: Settings) -> dict[str, str]:
    """Return where secrets are that lie open there, by key: `file:PATH`, `env:NAME` or `credential:NAME`."""
    found = {"keys.master_key": settings.keys.master_key, "database.url": settings.database.url}
    if settings.hsm is not None:
        found["hsm.pin"] = settings.hsm.pin
    return {key: reference for key, reference in found.items() if reference.partition(":")[0] in _SECRET}


def _secret(reference: str, home: Path, key: str, what: str) -> str:
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        return os.environ.get(place, "")
    if scheme not in _SECRET:
        raise KeyUnavailable(f"{key} must be file:PATH, env:NAME or credential:NAME")
    if scheme == "credential":
        # Of this process alone, by its folder; the file's own mode says what its access list allows (systemd.exec(5)).
        try:
            return (Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / Path(place).name).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"{what} is not among this process's credentials, as {place}") from error
    path = home / place
    try:
        text = path.read_text(encoding="utf-8")
        exposed = path.stat().st_mode & 0o077
    except (OSError, ValueError) as error:
        raise KeyUnavailable(f"{what} file {path} cannot be read") from error
    if exposed:
        raise KeyUnavailable(f"{path} can be read by others: run 'chmod 600 {path}'")
    return text
