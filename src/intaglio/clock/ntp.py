"""The time as NTP servers tell it to a client (RFC 5905 §7.3 and §8; without authentication).

One exchange of 48 octets with each server, all at once; nothing is learnt but how far our clock may be off.
"""

import secrets
import selectors
import socket
import struct
from collections.abc import Sequence

import msgspec

from intaglio.clock.agreement import Reading, Verdict, agreed
from intaglio.clock.oscillator import raw_seconds, wall_seconds

PORT = 123
_PATIENCE_SECONDS = 2.0

# Leap, version and mode; stratum; poll; precision; root delay and dispersion; reference id; reference, origin, receive
# and transmit times (RFC 5905 figure 8).
_PACKET = struct.Struct("!BBbbII4sQQQQ")
_CLIENT, _SERVER = 3, 4
_VERSION = 4
_UNSYNCHRONISED = 3
_MOST_STRATUM = 15
# 1970 in seconds of NTP, which begin in 1900 and again every 2^32.
_EPOCH = 2_208_988_800
_SHORT = 1 << 16
_LONG = 1 << 32


class Server(msgspec.Struct, frozen=True):
    """Where a server is; `name` is what the settings call it."""

    name: str
    host: str
    port: int = PORT


class _Asked(msgspec.Struct):
    server: Server
    cookie: int
    sent: float = 0.0


def look(servers: Sequence[Server], needed: int, patience_seconds: float = _PATIENCE_SECONDS) -> Verdict:
    """Return what `needed` of the servers agree on, all of them asked now; names are looked up before."""
    wall, raw = wall_seconds(), raw_seconds()
    readings = _ask(servers, wall - raw, patience_seconds)
    heard = {one.server for one in readings}
    silent = tuple(one.name for one in servers if one.name not in heard)
    if len(readings) < needed:
        why = f"{len(readings)} of {len(servers)} time servers answered, and {needed} are needed"
        return Verdict(wall, raw, why=why, unheard=True, silent=silent)
    bounds = agreed(readings, needed)
    if bounds is None:
        # They were heard, and what they say is that nobody knows.
        why = f"no {needed} of {len(servers)} time servers agree"
        return Verdict(wall, raw, why=why, wrong=tuple(sorted(heard)), silent=silent)
    low, high = bounds
    wrong = tuple(one.server for one in readings if one.offset - one.error > high or one.offset + one.error < low)
    return Verdict(wall, raw, low, high, wrong=wrong, silent=silent)


def _ask(servers: Sequence[Server], ahead: float, patience_seconds: float) -> list[Reading]:
    """Return what those servers say that answer in time; the clock is `ahead` of the oscillator's count."""
    readings: list[Reading] = []
    with selectors.DefaultSelector() as selector:
        try:
            for server in servers:
                _send(selector, server)
            ends = raw_seconds() + patience_seconds
            while selector.get_map() and (left := ends - raw_seconds()) > 0:
                for key, _ in selector.select(left):
                    reading = _receive(key.fileobj, key.data, ahead)  # type: ignore[arg-type]
                    if reading is not None:
                        readings.append(reading)
                        _close(selector, key.fileobj)  # type: ignore[arg-type]
        finally:
            for key in list(selector.get_map().values()):
                _close(selector, key.fileobj)  # type: ignore[arg-type]
    return readings


def _close(selector: selectors.BaseSelector, opened: socket.socket) -> None:
    selector.unregister(opened)
    opened.close()


def _send(selector: selectors.BaseSelector, server: Server) -> None:
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        opened = socket.socket(family, kind, protocol)
    except OSError:
        return
    # What stands in place of the time that we send is to be echoed: who does not see it cannot answer.
    asked = _Asked(server, secrets.randbits(64))
    packet = _PACKET.pack(_VERSION << 3 | _CLIENT, 0, 0, 0, 0, 0, bytes(4), 0, 0, 0, asked.cookie)
    try:
        opened.setblocking(False)
        opened.connect(address)
        asked.sent = raw_seconds()
        opened.send(packet)
    except OSError:
        opened.close()
        return
    selector.register(opened, selectors.EVENT_READ, asked)


def _receive(opened: socket.socket, asked: _Asked, ahead: float) -> Reading | None:
    try:
        packet = opened.recv(1024)
    except OSError:  # nobody listens there
        return None
    return read(packet, asked.server.name, asked.cookie, asked.sent, raw_seconds(), ahead)


def read(packet: bytes, server: str, cookie: int, sent: float, received: float, ahead: float) -> Reading | None:
    """Return what an answer says, or None if it is none to our question, or one of a server that does not know.

    `sent` and `received` are the oscillator's counts, the clock is `ahead` of it.
    """
    if len(packet) < _PACKET.size:
        return None
    first, stratum, _, precision, delay, dispersion, _, _, origin, taken, told = _PACKET.unpack_from(packet)
    leap, mode = first >> 6, first & 7
    if mode != _SERVER or origin != cookie or not told or not taken:
        return None
    # Stratum 0 is a kiss-o'-death: the server asks to be left alone (RFC 5905 §7.4).
    if leap == _UNSYNCHRONISED or not 1 <= stratum <= _MOST_STRATUM:
        return None
    # Offset and delay as in RFC 5905 §8, T1 and T4 by a clock that nobody sets meanwhile.
    begun, ended = sent + ahead, received + ahead
    offset = (_since(taken, begun) + _since(told, ended)) / 2
    travelled = max(0.0, (received - sent) - (told - taken) / _LONG)
    # All that the server may be off itself, and half of the way there and back, of which nobody knows how it was
    # shared (the root distance of RFC 5905 §11.2.1).
    error = travelled / 2 + delay / _SHORT / 2 + dispersion / _SHORT + 2.0**precision
    return Reading(server, offset, error)


def _since(stamp: int, wall: float) -> float:
    """Return a time of NTP less `wall`, seconds: within 68 years, whatever the era (RFC 5905 §6)."""
    seconds = int(wall)
    apart = (stamp >> 32) - (seconds + _EPOCH) & 0xFFFF_FFFF
    if apart >= 1 << 31:
        apart -= 1 << 32
    return apart + (stamp & 0xFFFF_FFFF) / _LONG - (wall - seconds)
