"""Works one token hard from several processes with several threads each; every signature is verified.

Usage: bench/soak.py [--seconds 60] [--threads 8] [--processes 2] [--json] [--spoil]

In each process, threads sign with keys stored on the token and with wrapped keys, of which a few are live at a time:
the others are unwrapped when needed and forgotten again. Beside them one thread makes key pairs, stored and wrapped,
and another makes a sealing key, uses it and destroys it, after which nothing under it may open. Prints what was done,
and ends with 1 if anything went wrong.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey, PublicKey
from intaglio.keys.token import Token, TokenPlace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from softhsm import MODULE, make_token

_PADDING = padding.PKCS1v15()
_PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
_HASHED = Prehashed(SHA256())
_ECDSA = ec.ECDSA(_HASHED)
_WRAPPED_OF_EACH = 12
_LIVE = 6


class Plan(msgspec.Struct, frozen=True):
    """What every process works with: the token, keys stored on it, and keys wrapped by one sealing key."""

    module: str
    serial: str
    pin_file: str
    seconds: float
    threads: int
    stored: list[bytes]
    sealing: bytes
    wrapped: list[tuple[bytes, bytes]]


class Outcome(msgspec.Struct, frozen=True):
    """What one process did, and what went wrong."""

    done: dict[str, int]
    errors: list[str]
    cpu_seconds: float


class Soak:
    """One process at work."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.token = token_of(plan)
        self.errors: list[str] = []
        self.counts: list[Counter[str]] = []
        self.until = time.monotonic() + plan.seconds
        self._stored = [self.token.find(key_id) for key_id in plan.stored]
        self._live: dict[int, PrivateKey] = {}
        self._turn = threading.Lock()

    def run(self) -> Outcome:
        """Work until the time is over."""
        work: list[Callable[[Counter[str]], None]] = [self._sign] * self.plan.threads
        work += [self._make_keys, self._turn_epochs]
        threads = [threading.Thread(target=self._repeat, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._live.clear()
        self.token.sweep()
        self.token.close()
        return Outcome(dict(sum(self.counts, Counter())), self.errors, time.process_time())

    def _repeat(self, work: Callable[[Counter[str]], None]) -> None:
        count: Counter[str] = Counter()
        self.counts.append(count)
        while time.monotonic() < self.until:
            try:
                work(count)
            except Exception as error:
                self.errors.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _sign(self, count: Counter[str]) -> None:
        if random.random() < 0.5:  # noqa: S311 - a choice, no secret
            place = random.randrange(len(self.plan.stored))  # noqa: S311
            if random.random() < 0.02:  # noqa: S311
                self._stored[place] = self.token.find(self.plan.stored[place])
            sign_and_verify(self._stored[place], count, "stored")
            return
        place = random.randrange(len(self.plan.wrapped))  # noqa: S311
        key = self._live.get(place)
        if key is None:
            wrapped, public = self.plan.wrapped[place]
            key = self.token.unwrap(wrapped, public_key(public), self.plan.sealing)
            count["unwrapped"] += 1
            with self._turn:
                self._live[place] = key
                while len(self._live) > _LIVE:
                    # Another thread may be signing with it.
                    self._live.pop(random.choice(list(self._live)))  # noqa: S311
        sign_and_verify(key, count, "wrapped")

    def _make_keys(self, count: Counter[str]) -> None:
        algorithm = random.choice((KeyAlgorithm.RSA_2048, KeyAlgorithm.P_256, KeyAlgorithm.P_384))  # noqa: S311
        key_id = secrets.token_bytes(16)
        sign_and_verify(self.token.generate(algorithm, key_id, "soak"), count, "new")
        self.token.destroy(key_id)
        wrapped, public = self.token.make_wrapped(algorithm, self.plan.sealing)
        sign_and_verify(self.token.unwrap(wrapped, public, self.plan.sealing), count, "new")
        count["key pairs made"] += 2

    def _turn_epochs(self, count: Counter[str]) -> None:
        sealing = secrets.token_bytes(16)
        self.token.make_sealing_key(sealing, "soak")
        wrapped, public = self.token.make_wrapped(KeyAlgorithm.P_256, sealing)
        sign_and_verify(self.token.unwrap(wrapped, public, sealing), count, "new")
        self.token.destroy_sealing_key(sealing)
        try:
            self.token.unwrap(wrapped, public, sealing)
        except KeyUnavailable:
            count["sealing keys destroyed"] += 1
        else:
            self.errors.append("a key opened although its sealing key was destroyed")
        time.sleep(0.2)


def sign_and_verify(key: PrivateKey, count: Counter[str], kind: str) -> None:
    """Sign a random digest with a key in one of its ways, and verify."""
    digest = secrets.token_bytes(32)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        key.public_key().verify(key.sign(digest, _ECDSA), digest, _ECDSA)
        count[f"signatures, {kind}, ECDSA"] += 1
        return
    scheme = _PADDING if digest[0] & 3 else _PSS
    key.public_key().verify(key.sign(digest, scheme, _HASHED), digest, scheme, _HASHED)
    count[f"signatures, {kind}, RSA"] += 1


def token_of(plan: Plan) -> Token:
    """Return the token of a plan."""
    pin_file = Path(plan.pin_file)
    place = TokenPlace(Path(plan.module), serial=plan.serial)
    return Token(place, lambda: pin_file.read_text().strip(), pin_file.with_name("refused"))


def public_key(encoded: bytes) -> PublicKey:
    """Return a public key from its DER."""
    found = load_der_public_key(encoded)
    assert isinstance(found, PublicKey)
    return found


def planned(folder: Path, seconds: float, threads: int) -> Plan:
    """Make a token with keys to work with."""
    made = make_token(folder, "soak")
    os.environ["SOFTHSM2_CONF"] = str(made.configuration)
    plan = Plan(str(MODULE), made.serial, str(made.pin_file), seconds, threads, [], secrets.token_bytes(16), [])
    token = token_of(plan)
    token.make_sealing_key(plan.sealing, "soak")
    for algorithm in (KeyAlgorithm.RSA_2048, KeyAlgorithm.P_256, KeyAlgorithm.P_384):
        plan.stored.append(secrets.token_bytes(16))
        token.generate(algorithm, plan.stored[-1], "soak")
        for _ in range(_WRAPPED_OF_EACH):
            wrapped, public = token.make_wrapped(algorithm, plan.sealing)
            plan.wrapped.append((wrapped, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
    token.close()
    return plan


def main() -> int:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--spoil", action="store_true", help="let one wrapped key be another's: the soak must see it")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(msgspec.json.encode(Soak(msgspec.json.decode(options.work.read_bytes(), type=Plan)).run()).decode())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        plan = planned(Path(folder), options.seconds, options.threads)
        if options.spoil:
            plan.wrapped[0] = (plan.wrapped[0][0], plan.wrapped[1][1])
        file = Path(folder) / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        command = [sys.executable, __file__, "--work", str(file)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(options.processes)]
        outputs = [process.communicate()[0] for process in processes]
        codes = [process.returncode for process in processes]
    outcomes = [msgspec.json.decode(output, type=Outcome) for output in outputs if output]
    done = dict(sorted(sum((Counter(one.done) for one in outcomes), Counter()).items()))
    errors = [error for one in outcomes for error in one.errors]
    errors += [f"a process ended with {code}" for code in codes if code]
    found = {
        "seconds": options.seconds,
        "processes": options.processes,
        "threads": options.threads,
        "cpu_seconds": round(sum(one.cpu_seconds for one in outcomes), 1),
        "signatures": sum(number for name, number in done.items() if name.startswith("signatures")),
        "done": done,
        "errors": errors,
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{options.processes} processes, {options.threads} threads each, {options.seconds:g} s:")
        for name, number in done.items():
            print(f"  {number:9,}  {name}")
        print(f"  {len(errors):9,}  errors")
        for error, number in Counter(errors).most_common(20):
            print(f"             {number} times {error}")
    return 1 if errors or not found["signatures"] else 0


if __name__ == "__main__":
    sys.exit(main())
