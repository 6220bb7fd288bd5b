"""Time servers of a test's own, on loopback: each tells the time with an offset, or says nothing of use."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_PACKET = struct.Struct("!BBbbII4sQQQQ")


def stamp(seconds: float) -> int:
    return int((seconds + 2_208_988_800) * (1 << 32)) & (1 << 64) - 1


class TimeServer:
    """Answers as RFC 5905 says; what is set here holds from the next answer on."""

    def __init__(self, offset: float = 0.0, dispersion: float = 0.001) -> None:
        self.offset = offset
        self.dispersion = dispersion
        self.silent = False
        self.leap = 0
        self.stratum = 2
        self.foreign = False  # answers what was not asked
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            packet, peer = self._socket.recvfrom(1024)
            if not packet:
                return
            now = stamp(time.time() + self.offset)
            cookie = struct.unpack_from("!Q", packet, 40)[0] ^ self.foreign
            assert (len(packet), packet[0] & 7, packet[0] >> 3 & 7) == (48, 3, 4)
            if not self.silent:
                spread = int(self.dispersion * 65536)
                first = self.leap << 6 | 4 << 3 | 4
                self._socket.sendto(
                    _PACKET.pack(first, self.stratum, 6, -20, 0, spread, b"TEST", now, cookie, now, now), peer
                )

    def end(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()


@contextmanager
def time_servers(number: int) -> Iterator[list[TimeServer]]:
    with ExitStack() as stack:
        servers = [TimeServer() for _ in range(number)]
        for one in servers:
            stack.callback(one.end)
        yield servers
