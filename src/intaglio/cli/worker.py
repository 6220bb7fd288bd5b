"""A further process of a node that serves: `python -m intaglio.cli.worker HOME PLACE FILE …`."""

import socket
import sys
from pathlib import Path

from intaglio.cli.serving import serve_beside
from intaglio.keys.seclusion import seclude


def main() -> None:
    """Serve at the sockets whose numbers are on the command line, and say so, until standard input ends."""
    seclude()

    def told() -> None:
        sys.stdout.write("serving\n")
        sys.stdout.flush()

    home, place, *files = sys.argv[1:]
    serve_beside(Path(home), int(place), [socket.socket(fileno=int(one)) for one in files], told)


if __name__ == "__main__":
    main()
