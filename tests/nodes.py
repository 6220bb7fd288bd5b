"""Two nodes of one service, on one PostgreSQL database."""

import shutil
from pathlib import Path

import httpx

from custody import hsm_options
from served import Partner, Served, free_port, tls


def two_nodes(folder: Path, url: str, ready_keys: int, patience_seconds: int = 10) -> tuple[Served, Served]:
    """Make them as docs/operate/nodes.md has it: one home but for addresses, one folder for epochs' secrets."""
    one = Served(folder / "one", free_port(), free_port())
    ports = ("--api-port", str(one.api_port), "--pki-port", str(one.pki_port), "--algorithm", "p-256")
    one.intaglio("init", *ports, "--database", url, *hsm_options())
    two = Served(folder / "two", free_port(), free_port())
    shutil.copytree(one.home, two.home)
    for node in one, two:
        settings = node.home / "intaglio.toml"
        text = settings.read_text().replace("[keys]\n", f"[keys]\nepoch_folder = '{folder / 'epochs'}'\n")
        text = f"node = '{node.home.name}'\n" + text.replace(
            "[database]\n", f"[database]\npatience_seconds = {patience_seconds}\n"
        )
        text = text.replace(f"port = {one.api_port}", f"port = {node.api_port}")
        pool = f"[pool.marks.rsa-2048]\nlow = {ready_keys}\nhigh = {ready_keys + 4}\n"
        node.metrics_port = free_port()
        pool += f"[metrics]\nport = {node.metrics_port}\n"
        settings.write_text(text.replace(f"port = {one.pki_port}", f"port = {node.pki_port}") + pool)
    one.intaglio("pool", "fill")
    return one, two


def also_at(node: Served, partner: Partner) -> Partner:
    """Return the same partner at another node, with the token that the first one gave it."""
    client = httpx.Client(base_url=node.url, verify=tls(node, partner.folder), timeout=20)
    return Partner(
        node, partner.folder, partner.account_id, partner.credential_id, partner.secret, client, partner.token
    )
