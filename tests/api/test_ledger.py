"""A service that runs signs heads, keeps them outside of its database and gives them to whoever asks."""

import time
from pathlib import Path

import httpx
import msgspec

from intaglio.ledger.head import opened, read_key
from served import BIN, Served, run


def test_heads_are_signed_kept_and_published(served: Served, tmp_path: Path) -> None:
    key = read_key(httpx.get(f"{served.public}/ledger/key").text)
    served.intaglio("account", "create", "--name", "heads", "--kind", "individual", "--test")
    answer = httpx.get(f"{served.public}/ledger/head")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    before = opened(answer.text, key)
    (tmp_path / "head").write_text(answer.text)
    served.intaglio("account", "create", "--name", "heads 2", "--kind", "individual", "--test")
    for _ in range(200):
        head = opened(httpx.get(f"{served.public}/ledger/head").text, key)
        if head.size > before.size:
            break
        time.sleep(0.1)
    assert head.size > before.size
    found = served.intaglio(
        "ledger", "verify", "--heads", served.home / "heads", "--key", served.home / "pki/ledger.vkey"
    )
    assert found["outside"] >= 2
    assert found["leaves"] >= head.size
    kept = [
        msgspec.json.decode(line)["size"]
        for path in sorted((served.home / "heads").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    assert head.size in kept
    # Whoever fetched a head has something to hold the ledger against; the control is one that was changed.
    assert served.intaglio("ledger", "verify", "--heads", tmp_path / "head")["outside"] == 1
    (tmp_path / "head").write_text(answer.text.replace(f"\n{before.size}\n", f"\n{before.size + 1}\n"))
    verify = (BIN / "intaglio", "ledger", "verify", "--heads", tmp_path / "head", "--home", served.home)
    assert b"not signed by this ledger's key" in run(*verify, check=False, environment=served.environment).stderr
