"""Structured logs: one JSON object a line on standard error, secrets struck out."""

import asyncio
import logging
import re
import sys
from datetime import UTC, datetime

import msgspec
import re2

STRUCK = "[struck out]"

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "taskName"}
# What is logged under these names is never shown, whatever it looks like.
_SECRET_NAMES = frozenset(
    {"access_token", "api_secret", "authorization", "cookie", "passphrase", "password", "pin", "secret", "token"}
)
# Over a line of JSON: no pattern may cross a quotation mark, or what is left is no JSON.
_SECRETS = re.compile(
    # a JWT (RFC 7519 §3), whole or without its signature
    r"eyJ[\w-]{8,}(?:\.[\w-]+){1,2}"
    # RFC 6750 §2.1; a shorter word is prose
    r"|\b(?i:bearer) +[\w.~+/=-]{16,}"
    # an API secret
    r"|(?<![0-9A-Fa-f])[0-9A-Fa-f]{40}(?![0-9A-Fa-f])"
    # a private key in PEM (RFC 7468), cut off or not; line ends are escaped here
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\w+/=:,. -]|\\{1,2}[nr])*"
    # a password in a URL
    r"|(?<=://)[^\s:/@\"\\]*:[^\s/@\"\\]+(?=@)"
)
# Whether the above is worth its time, which most lines are not: 2 µs instead of 20.
_SUSPECT = re2.compile(r"eyJ|(?i:bearer) |(?:^|[^0-9A-Fa-f])[0-9A-Fa-f]{40}(?:[^0-9A-Fa-f]|$)|PRIVATE KEY-----|://")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def struck(text: str) -> str:
    """Return `text` without tokens, API secrets, private keys and passwords of URLs."""
    return _SECRETS.sub(STRUCK, text) if _SUSPECT.search(text) else text


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, and what was given as extra."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; it never raises, since logging would then show the arguments as they are."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                line[name] = STRUCK if name in _SECRET_NAMES else value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            text = _encode(line).decode()
        except Exception:  # whatever an extra's own code raises
            text = _encode({name: _plain(value) for name, value in line.items()}).decode()
        # The whole line at once: it holds what is nested in extras, too.
        return struck(text)


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The line of one request; `reason` is the kind of error, if there was one."""

    time: datetime
    message: str
    request_id: str
    status: int
    milliseconds: float
    account: str | None
    operation: str
    level: str
    logger: str
    reason: str | None = None


class AccessLog:
    """Writes a line for each request, past the logging module: that would cost as much as a tenth of a signature.

    Requests are answered by the handful, after a commit that they shared; their lines are looked through and written
    together, when the turn of the event loop in which they were answered ends.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._lines: list[bytes] = []

    def tell(
        self,
        request: str,
        request_id: str,
        status: int,
        seconds: float,
        account: str | None,
        operation: str,
        reason: str | None = None,
    ) -> None:
        """Have one line written; `request` is method and path. To be called on the event loop."""
        if self._wanted:
            milliseconds = round(seconds * 1000, 2)
            now = datetime.now(UTC)
            line = Answered(
                now, request, request_id, status, milliseconds, account, operation, "INFO", "intaglio.access", reason
            )
            self._lines.append(_encode(line))
            if len(self._lines) == 1:
                asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        # Struck out of all at once: no pattern crosses a quotation mark, so none crosses a line.
        # One write: nothing that another thread or process says comes in between.
        sys.stderr.write(struck(b"\n".join(lines).decode()) + "\n")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit the message
        return f"{_plain(record.msg)} (its arguments do not fit)"


def _plain(value: object) -> str:
    """Return what can always be encoded."""
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception:  # whatever its own code raises
        return f"a {type(value).__name__} that cannot be written"


def configure(level: str) -> None:
    """Send everything that is logged through the formatter, uvicorn's own lines and Python's warnings too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    # What uvicorn has to say about bad requests the listeners say themselves, with an id.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
