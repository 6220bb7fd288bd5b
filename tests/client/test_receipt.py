"""Receipts say who signed which hash when and what became of the key, offline; no byte of one can be changed."""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from commands import BIN, run
from composed import composed
from intaglio.clock import ManualClock
from intaglio.database.engine import reading
from intaglio.errors import Conflict, Malformed, NotFound
from intaglio.ledger import tree
from intaglio.ledger.entry import Event
from intaglio.ledger.head import Head, key_of, read_key, signed
from intaglio.revocation.archiving import archive_ended
from intaglio.service import receipts
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.receipts import prove
from intaglio.service.stamping import due, stamp
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio.signing.timestamp import stamp_digest
from intaglio_client.errors import Unusable
from intaglio_client.receipt import verify_receipt
from intaglio_client.receipt_report import ReceiptReport, receipt_text
from intaglio_client.report import Verdict
from onboarded import DIGEST, caller, small_home
from served import JOHN_DOE


async def walk(home: Home) -> str:
    """An identity that signs, a time-stamp, the end of the key and of its epoch; all of it under a stamped head."""
    clock = ManualClock(datetime.now(UTC))
    async with composed(home, clock) as (service, heads):
        engine = service.engine
        made = await create_identity(engine, who := caller(home), JOHN_DOE, "request1")
        await sign_digest(engine, who, made.id, DIGEST, "request2")
        await stamp_digest(engine, who, DIGEST, "request3")
        clock.advance(timedelta(hours=3))
        assert await destroy_expired(engine) == 1
        await heads.sign(clock.now())
        head = await engine.commits.read(lambda c: due(c, clock.now()))
        assert head is not None
        await stamp(home, engine, head, clock.now())
        await heads.sign(clock.now())
        await service.record(Event(clock.now(), "test", request_id="late"))
        return made.id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = small_home(tmp_path_factory.mktemp("receipts") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def identity(home: Home) -> str:
    return asyncio.run(walk(home))


def key(home: Home) -> str:
    return (home.path / "pki/ledger.vkey").read_text()


def roots(home: Home) -> list[bytes]:
    return [(home.path / f"pki/{name}.crt").read_bytes() for name in ("root", "test-root")]


@pytest.mark.parametrize("by", ["identity", "request", "entry"])
def test_a_receipt_says_who_signed_what_when_and_that_the_key_is_gone(home: Home, identity: str, by: str) -> None:
    with reading(home.engine) as connection:
        place = connection.exec_driver_sql("SELECT chain, sequence FROM ledger WHERE kind = 'signature.made'").one()
    about = {"identity": identity, "request": "request2", "entry": f"{place[0]}/{place[1]}"}[by]
    report = verify_receipt(prove(home, about), key=key(home), roots=roots(home))
    assert (report.verdict, report.reason, report.trusted) == (Verdict.VALID, None, True)
    (signed,) = report.signed
    assert (signed.what, signed.hash, signed.identity) == ("signature", DIGEST.value.hex(), identity)
    assert "John Doe" in (signed.subject or "")
    assert signed.not_before is not None
    assert signed.not_after is not None
    assert signed.not_before - timedelta(seconds=1) <= signed.at <= signed.not_after
    assert signed.key_destroyed_at is not None
    assert signed.seal_destroyed_at is not None
    assert signed.key_destroyed_at >= signed.not_after
    (stamp_on_head,) = report.time_stamps
    assert stamp_on_head.trusted
    assert report.head_at is not None
    assert abs(stamp_on_head.time - report.head_at) < timedelta(minutes=1)


def test_the_receipt_of_a_certificate_that_is_archived_says_so_and_holds(tmp_path: Path) -> None:
    home = small_home(tmp_path / "home")
    identity = asyncio.run(walk(home))

    async def archive() -> int:
        async with composed(home) as (service, _):
            now = datetime.now(UTC)
            late = now + timedelta(days=1)
            return await archive_ended(service.engine.commits, home.chain, ["test-issuing"], late, now)

    try:
        whole = verify_receipt(prove(home, identity), key=key(home), roots=roots(home))
        assert asyncio.run(archive()) > 0
        report = verify_receipt(prove(home, identity), key=key(home), roots=roots(home))
    finally:
        home.close()
    assert (report.verdict, report.archived, report.trusted) == (Verdict.VALID, True, False)
    assert (whole.archived, whole.trusted) == (False, True)
    for name in "serial", "not_before", "not_after", "key_destroyed_at", "hash", "at":
        assert getattr(report.signed[0], name) == getattr(whole.signed[0], name)
    assert "John Doe" in (report.signed[0].subject or "")
    assert "archived" in receipt_text(report)


def test_what_failed_after_all_is_not_vouched_for(tmp_path: Path) -> None:
    """A signature has its entry before the key signs, and another when it could not, or nobody got it."""
    home = small_home(tmp_path / "home")

    def events(kind: str, *requests: str) -> list[Event]:
        details = {"digest": DIGEST.value.hex(), "credential": "c"}
        return [
            Event(datetime.now(UTC), kind, "account", "one" if request != "r3" else "many", request, details)
            for request in requests
        ]

    async def write() -> None:
        async with composed(home) as (service, heads):
            made = events("signature.made", "r1", "r2", *["r3"] * 1001)
            unheard = [Event(datetime.now(UTC), "response.undelivered", "account", None, "r2")]
            await service.engine.commits.write(
                lambda c: service.engine.chain.append(c, [*made, *events("signature.failed", "r1"), *unheard])
            )
            await heads.sign(datetime.now(UTC))

    asyncio.run(write())
    try:
        with reading(home.engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT request_id, chain, sequence FROM ledger WHERE reference = 'one' AND kind = 'signature.made'"
            )
            places = {request: f"{chain}/{sequence}" for request, chain, sequence in rows}
        for about in (places["r1"], "r1"):
            assert verify_receipt(prove(home, about), key=key(home)).signed == ()
        for about in (places["r2"], "r2", "one"):
            (signed,) = verify_receipt(prove(home, about), key=key(home)).signed
            assert signed.undelivered
        with pytest.raises(Conflict, match="More than 1000"):
            prove(home, "many")
    finally:
        home.close()


def test_a_time_stamp_has_a_receipt_by_its_serial_number(home: Home, identity: str) -> None:
    assert identity
    with reading(home.engine) as connection:
        serial = connection.exec_driver_sql("SELECT reference FROM ledger WHERE kind = 'timestamp.made'").scalar_one()
    (signed,) = verify_receipt(prove(home, serial), key=key(home), roots=roots(home)).signed
    assert (signed.what, signed.hash) == ("time-stamp", DIGEST.value.hex())


def test_a_receipt_is_believed_by_a_key_from_elsewhere_alone(home: Home, identity: str, tmp_path: Path) -> None:
    receipt = prove(home, identity)
    assert verify_receipt(receipt).verdict == Verdict.INDETERMINATE
    other = small_home(tmp_path / "other")
    try:
        assert verify_receipt(receipt, key=key(other)).verdict == Verdict.INVALID
        report = verify_receipt(receipt, key=key(home), roots=[(other.path / "pki/root.crt").read_bytes()])
        assert report.verdict == Verdict.INVALID
    finally:
        other.close()
    with pytest.raises(Unusable):
        verify_receipt(receipt, key="nonsense")


def test_no_byte_of_a_receipt_can_be_changed(home: Home, identity: str) -> None:
    receipt = prove(home, identity)
    for place in [*range(0, len(receipt), 97), len(receipt) - 1]:
        changed = bytearray(receipt)
        changed[place] ^= 1 << place % 8
        try:
            report = verify_receipt(bytes(changed), key=key(home), roots=roots(home))
        except Unusable:
            continue
        assert report.verdict == Verdict.INVALID, place
    assert verify_receipt(receipt, key=key(home), roots=roots(home)).verdict == Verdict.VALID


def test_proofs_hold_each_on_its_own(home: Home, identity: str) -> None:
    """Whoever has the key of the ledger and seals anew what was changed is found by the proofs."""
    receipt = msgspec.json.decode(prove(home, identity), type=receipts.Receipt)
    private = home.keyring.key("ledger")
    assert isinstance(private, ec.EllipticCurvePrivateKey)

    def sealed(**changes: Any) -> bytes:
        made = msgspec.structs.replace(receipt, seal=b"", **changes)
        content = f"{receipts.FORMAT}\n".encode() + msgspec.json.encode(made)
        return receipts.written(msgspec.structs.replace(made, seal=private.sign(content, ec.ECDSA(hashes.SHA256()))))

    def reason(**changes: Any) -> str | None:
        return verify_receipt(sealed(**changes), key=key(home), roots=roots(home)).reason

    first, *rest = receipt.entries
    assert reason() is None
    body = first.body.replace("John", "Jane")
    assert body != first.body
    replaced = msgspec.structs.replace
    assert "not in the tree" in str(reason(entries=[replaced(first, body=body), *rest]))
    assert reason(entries=[replaced(first, proof=first.proof[1:]), *rest]) is not None
    assert reason(entries=[replaced(first, leaf=first.leaf + 1), *rest]) is not None
    assert reason(head=receipt.head.replace("\ntime 2", "\ntime 3", 1)) is not None
    assert reason(certificates=receipt.certificates[1:]) is not None
    assert reason(certificates=receipt.certificates[:-1]) is not None
    token = bytearray(receipt.stamps[0].token)
    token[-1] ^= 1
    assert "time-stamp" in str(reason(stamps=[replaced(receipt.stamps[0], token=bytes(token))]))


class Ledger:
    """A ledger of one entry whose owner writes what they like, with a key of their own."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.key = key_of("mine", self.private.public_key())

    def sign(self, content: bytes) -> bytes:
        return self.private.sign(content, ec.ECDSA(hashes.SHA256()))

    def receipt(self, body: bytes, **changes: Any) -> bytes:
        root = hashlib.sha256(b"\0" + hashlib.sha256(bytes(32) + body).digest()).digest()
        made = receipts.Receipt(
            format=receipts.FORMAT,
            about="one",
            entries=[receipts.Proven(body.decode(), bytes(32).hex(), 0, [])],
            head=signed(Head(1, root, datetime.now(UTC)), self.key, self.sign),
            stamps=[],
            key=self.key.text,
            certificates=[],
        )
        made = msgspec.structs.replace(made, **changes)
        seal = self.sign(f"{receipts.FORMAT}\n".encode() + msgspec.json.encode(made))
        return receipts.written(msgspec.structs.replace(made, seal=seal))

    def report(self, details: dict[str, Any], **changes: Any) -> ReceiptReport:
        entry = {
            "chain": "main", "sequence": 1, "at": "2026-11-25T00:00:00Z", "actor": "service",
            "kind": "identity.created", "account_id": None, "reference": "one", "request_id": None, "details": details,
            **changes,
        }  # fmt: skip
        return verify_receipt(self.receipt(msgspec.json.encode(entry)), key=self.key.text)


@pytest.mark.parametrize(
    "details",
    [
        {"epoch": ["x"]},
        {"verification": "x"},
        {"not_before": "yesterday"},
        {"not_after": "0001-01-01T00:00:00+14:00"},
        {"serial": {}},
        {"subject": 5},
    ],
)
def test_whoever_seals_what_cannot_be_told_is_not_believed(details: dict[str, Any]) -> None:
    ledger = Ledger()
    assert ledger.report({"subject": "CN=x", "serial": "5", "epoch": "e"}).verdict == Verdict.VALID
    assert (ledger.report(details).verdict, ledger.report(details).reason) == (
        Verdict.INVALID,
        "an entry cannot be read",
    )


def test_nothing_in_a_receipt_is_obeyed_by_a_terminal() -> None:
    ledger = Ledger()
    told = receipt_text(ledger.report({"subject": "\x1b[2J\u202eVALID\nVALID"}))
    assert "\\x1b[2J\\u202eVALID\\nVALID" in told
    assert all(one.isprintable() or one == "\n" for one in told)
    with pytest.raises(Unusable) as refused:
        verify_receipt(ledger.receipt(b"{}", format="\x1b[2J"), key=ledger.key.text)
    assert str(refused.value).isprintable()
    with pytest.raises(Unusable):
        verify_receipt(b'{"format":' + b"[" * 100_000, key=ledger.key.text)


def test_a_time_that_no_trusted_authority_says_is_not_proven(home: Home, identity: str) -> None:
    """The identity is of the test hierarchy, the stamp on the head is of the other."""
    _, test_root = roots(home)
    report = verify_receipt(prove(home, identity), key=key(home), roots=[test_root])
    assert (report.verdict, report.trusted, report.time_stamps[0].trusted) == (Verdict.INDETERMINATE, True, False)
    assert "time-stamp" in str(report.reason)


def test_a_receipt_is_verified_in_a_loop_that_runs_too(home: Home, identity: str) -> None:
    async def within() -> Verdict:
        return verify_receipt(prove(home, identity), key=key(home), roots=roots(home)).verdict

    assert asyncio.run(within()) == Verdict.VALID


def test_what_is_no_key_is_refused_in_a_sentence(home: Home, identity: str, tmp_path: Path) -> None:
    name, _, encoded = key(home).strip().split("+", 2)
    raw = base64.b64decode(encoded)
    # The last arc of P-256 in place of a curve that nobody knows.
    other = raw.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030166"))
    assert other != raw
    line = f"{name}+{hashlib.sha256(other[1:]).hexdigest()[:8]}+{base64.b64encode(other).decode()}"
    with pytest.raises(Malformed):
        read_key(line)
    with pytest.raises(Unusable):
        verify_receipt(prove(home, identity), key=line)
    (tmp_path / "key").write_bytes(b"\xff\x00\xfe")
    done = run(BIN / "intaglio", "ledger", "verify", "--key", tmp_path / "key", "--home", home.path, check=False)
    assert (done.returncode, b"cannot be read" in done.stderr, b"Traceback" in done.stderr) == (1, True, False)


def test_what_is_unknown_or_not_in_the_tree_has_none(home: Home, identity: str) -> None:
    assert identity
    with pytest.raises(NotFound):
        prove(home, "main/100000")
    with pytest.raises(NotFound):
        prove(home, "main/99999999999999999999")
    with pytest.raises(Conflict, match="not in the tree yet"):
        prove(home, "late")


def test_the_commands_work_together_and_the_sdk_alone(home: Home, identity: str, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    run(BIN / "intaglio", "ledger", "prove", identity, "--home", home.path, "--out", receipt)
    trust = [part for name in ("root", "test-root") for part in ("--trust", home.path / f"pki/{name}.crt")]
    command = (BIN / "intaglio-client", "receipt", "verify", receipt, "--key", home.path / "pki/ledger.vkey", *trust)
    text = run(*command).stdout.decode()
    for words in ("VALID", "John Doe", DIGEST.value.hex(), "nothing can sign with it again", "all this was on record"):
        assert words in text
    assert json.loads(run(*command, "--json").stdout)["verdict"] == "VALID"
    assert run(*command[:4], check=False).returncode == 3
    receipt.write_bytes(receipt.read_bytes().replace(b"John", b"Jane"))
    assert run(*command, check=False).returncode == 1
    lonely = "import sys; sys.modules['intaglio'] = None; from intaglio_client.cli import app; app()"
    receipt.write_bytes(prove(home, identity))
    done = subprocess.run(
        [sys.executable, "-c", lonely, *map(str, command[1:])], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_home_without_the_tree_gets_its_key_at_the_next_start(home: Home, tmp_path: Path) -> None:
    made = small_home(tmp_path / "old")
    (made.path / "keys/ledger.sealed").unlink()
    (made.path / "pki/ledger.vkey").unlink()
    assert verifying_key(made) is None

    async def start() -> None:
        async with composed(made) as (_, heads):
            assert await heads.sign(datetime.now(UTC)) is False

    asyncio.run(start())
    assert verifying_key(made) not in {None, verifying_key(home)}
    with reading(made.engine) as connection:
        assert tree.size(connection) > 0
    # A second node must not make another key.
    (made.path / "keys/ledger.sealed").unlink()
    with pytest.raises(Exception, match="signed by another node"):
        asyncio.run(start())
    made.close()
    assert open_home(made.path).path == made.path
