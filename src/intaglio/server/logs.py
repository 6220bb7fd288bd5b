"""Structured logs: one JSON object a line on standard error, secrets struck out."""

import logging
import re
import sys
from datetime import UTC, datetime

import msgspec

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "taskName"}
_SECRETS = (
    re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(r"(?i)bearer +\S+"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<![0-9A-Fa-f])[0-9a-f]{40}(?![0-9A-Fa-f])"),
)
_encoder = msgspec.json.Encoder(enc_hook=str)


def struck(text: str) -> str:
    """Return `text` without tokens, API secrets and private keys."""
    for pattern in _SECRETS:
        text = pattern.sub("[struck out]", text)
    return text


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, and what was given as extra."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": struck(record.getMessage()),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                line[name] = struck(value) if isinstance(value, str) else value
        if record.exc_info:
            line["exception"] = struck(self.formatException(record.exc_info))
        return _encoder.encode(line).decode()


def configure(level: str) -> None:
    """Send everything that is logged through the formatter, uvicorn's own lines too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
