"""Proxies in front of a service: children of the tests, from the shipped files with only ports and paths exchanged."""

import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from commands import run

DEPLOY = Path(__file__).parents[1] / "deploy"
# Addresses of this machine, of a front and of those whom it stands before.
FRONT = "127.0.0.2"
CLIENT = "127.0.0.5"
_NGINX = """
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
{modules}
events {{}}
"""
_HTTP = """
http {{
    access_log off;
    {temporary}
    proxy_bind {front};
    include {file};
}}
"""
_STREAM = """
stream {{
    proxy_bind {front};
    include {file};
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def rendered(shipped: str, changes: Mapping[str, str]) -> str:
    """Return a shipped file with its examples' addresses and paths exchanged; each must be in it."""
    text = (DEPLOY / shipped).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    assert "192.0.2." not in text
    assert "example.com" not in text.replace("sign.example.com", "")
    return text


def pair(folder: Path, name: str, *names: str) -> Path:
    """Make a key and a self-signed certificate for it, for such names of a host; return the certificate's file."""
    alternative = ",".join(f"DNS:{one}" for one in names or ("front",))
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"),
    )
    (folder / f"{name}.pem").write_text((folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text())
    return folder / f"{name}.crt"


class Proxy:
    """A proxy that runs until it is ended, once it listens at its ports."""

    def __init__(self, command: Sequence[str | Path], folder: Path, *ports: int) -> None:
        self.log = folder / "proxy.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        for port in ports:
            self._wait(port)

    def _wait(self, port: int) -> None:
        for _ in range(200):
            assert self.process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def end(self) -> None:
        self.process.terminate()
        # HAProxy ends as the signal has it.
        assert self.process.wait(20) in {0, -signal.SIGTERM}, self.log.read_text()


def nginx(folder: Path, text: str, *ports: int, stream: bool = False) -> Proxy:
    """Run nginx with one file, of its `http` or its `stream` block."""
    folder.mkdir(exist_ok=True)
    (folder / "front.conf").write_text(text)
    block = (_STREAM if stream else _HTTP).format(
        front=FRONT,
        file=folder / "front.conf",
        temporary="\n    ".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY),
    )
    modules = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" if stream else ""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, modules=modules) + block)
    command = ("/usr/sbin/nginx", "-e", folder / "nginx.log", "-p", folder, "-c", folder / "nginx.conf")
    run(*command, "-t")
    return Proxy(command, folder, *ports)


def haproxy(folder: Path, text: str, *ports: int) -> Proxy:
    """Run HAProxy with one file."""
    folder.mkdir(exist_ok=True)
    (folder / "haproxy.cfg").write_text(text)
    run("/usr/sbin/haproxy", "-c", "-f", folder / "haproxy.cfg")
    return Proxy(("/usr/sbin/haproxy", "-db", "-f", folder / "haproxy.cfg"), folder, *ports)
