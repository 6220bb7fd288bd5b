"""Telling whoever started the service how it stands: sd_notify(3), without its library."""

import os
import socket


def notify(state: str) -> None:
    """Send such a line to the supervisor's socket, if it gave one; one that is away is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            # An abstract name begins with a zero byte.
            sender.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        except OSError:
            return
