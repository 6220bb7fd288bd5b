"""A service that runs signs heads, keeps them outside of its database and gives them to whoever asks."""

import time

import httpx
import msgspec

from intaglio.ledger.head import opened, read_key
from served import Served


def test_heads_are_signed_kept_and_published(served: Served) -> None:
    key = read_key(httpx.get(f"{served.public}/ledger/key").text)
    served.intaglio("account", "create", "--name", "heads", "--kind", "individual", "--test")
    answer = httpx.get(f"{served.public}/ledger/head")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    before = opened(answer.text, key)
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
