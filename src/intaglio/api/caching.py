"""Header fields of what caches may keep (RFC 5019 §6.2, RFC 9111)."""

import hashlib
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

# A cache may keep a status this long although it stays current longer: a revocation must get through.
_MOST_CACHED_SECONDS = 3600

Fields = tuple[tuple[bytes, bytes], ...]


def cacheable(
    content: bytes, media_type: str, this_update: datetime, next_update: datetime, now: datetime
) -> list[tuple[bytes, bytes]]:
    """Return the header fields of an answer that is true from `this_update` to `next_update`."""
    seconds = max(0, min(_MOST_CACHED_SECONDS, int((next_update - now).total_seconds())))
    kept = (b"cache-control", b"max-age=%d, public, no-transform, must-revalidate" % seconds)
    return [*_lasting(content, media_type, this_update, next_update), kept]


# What is asked for again and again is answered with the same bytes.
@lru_cache(maxsize=4096)
def _lasting(content: bytes, media_type: str, this_update: datetime, next_update: datetime) -> Fields:
    return (
        (b"content-type", media_type.encode()),
        (b"last-modified", format_datetime(this_update.replace(microsecond=0), usegmt=True).encode()),
        (b"expires", format_datetime(next_update.replace(microsecond=0), usegmt=True).encode()),
        (b"etag", b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()),
    )
