"""What a SoftHSM token does alone, and what our way to it costs: operations per second of CPU.

Usage: bench/raw_token.py [--seconds 2]
"""

import argparse
import ctypes
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from intaglio.keys import cryptoki, layout, objects
from intaglio.keys.algorithm import KeyAlgorithm, PublicKey
from intaglio.keys.token import Token

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from softhsm import PIN, make_token

_HASHED = Prehashed(hashes.SHA256())
_PADDING = padding.PKCS1v15()
_ECDSA = ec.ECDSA(_HASHED)
_TURN_SECONDS = 0.1


def per_cpu_second(*works: Callable[[], object], seconds: float) -> list[float]:
    """Return how often a thread does each of `works` in a second of its CPU, in turns: a machine changes its speed."""
    made, spent = [0] * len(works), [0.0] * len(works)
    while spent[0] < seconds:
        for place, work in enumerate(works):
            began = time.thread_time()
            while time.thread_time() - began < _TURN_SECONDS:
                work()
                made[place] += 1
            spent[place] += time.thread_time() - began
    return [count / time_spent for count, time_spent in zip(made, spent, strict=True)]


def bare_signing(token: Token, key_id: bytes) -> Callable[[], object]:
    """Return PKCS#1 v1.5 by the two C calls that it takes, on a session and handle of their own."""
    sessions = token.sessions
    session = sessions.borrow()
    handle = objects.find_one(sessions, session, cryptoki.CKO_PRIVATE_KEY, key_id)
    mechanism = layout.mechanism(cryptoki.CKM_RSA_PKCS)
    address = ctypes.addressof(mechanism)
    begin, sign = sessions.module.functions["C_SignInit"], sessions.module.functions["C_Sign"]
    # DigestInfo of SHA-256 (RFC 8017 §9.2 note 1)
    content = bytes.fromhex("3031300d060960864801650304020105000420") + secrets.token_bytes(32)

    def work(_kept: object = mechanism) -> None:
        session.length.value = 1024
        begin(session.handle, address, handle)
        sign(session.handle, content, len(content), session.output_address, session.length_address)

    return work


def overhead_microseconds(token: Token, work: Callable[[], object], turns: int = 20_000) -> float:
    """Return what a signature costs around its two C calls, which do nothing meanwhile."""
    sessions = token.sessions
    kept = sessions._sign_init, sessions._sign  # noqa: SLF001 - nothing else is between
    sessions._sign_init = sessions._sign = lambda *_: 0  # noqa: SLF001
    try:
        best = float("inf")
        for _ in range(5):
            began = time.thread_time()
            for _ in range(turns):
                work()
            best = min(best, (time.thread_time() - began) / turns)
    finally:
        sessions._sign_init, sessions._sign = kept  # noqa: SLF001
    return best * 1e6


def main() -> None:
    """Make a token and print what it does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        made = make_token(Path(folder), "raw")
        os.environ["SOFTHSM2_CONF"] = str(made.configuration)
        token = Token(made.place, lambda: PIN, Path(folder) / "refused")
        sealing, rsa_id, ec_id = (secrets.token_bytes(16) for _ in range(3))
        token.make_sealing_key(sealing, "raw")
        rsa_key = token.generate(KeyAlgorithm.RSA_2048, rsa_id, "raw")
        ec_key = token.generate(KeyAlgorithm.P_256, ec_id, "raw")
        wrapped_rsa = token.make_wrapped(KeyAlgorithm.RSA_2048, sealing)
        wrapped_ec = token.make_wrapped(KeyAlgorithm.P_256, sealing)
        assert isinstance(rsa_key, rsa.RSAPrivateKey)
        assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
        digest = secrets.token_bytes(32)

        def sign_rsa() -> bytes:
            return rsa_key.sign(digest, _PADDING, _HASHED)

        def sign_ec() -> bytes:
            return ec_key.sign(digest, _ECDSA)

        def once(wrapped: bytes, public_key: PublicKey) -> bytes:
            key = token.unwrap(wrapped, public_key, sealing)
            if isinstance(key, rsa.RSAPrivateKey):
                return key.sign(digest, _PADDING, _HASHED)
            return key.sign(digest, _ECDSA)

        sign_rsa()
        sign_ec()
        bare, ours = per_cpu_second(bare_signing(token, rsa_id), sign_rsa, seconds=seconds)
        others = {
            "P-256, key.sign": sign_ec,
            "RSA-2048, unwrap + sign + verify + destroy": lambda: once(*wrapped_rsa),
            "P-256, unwrap + sign + verify + destroy": lambda: once(*wrapped_ec),
            "RSA-2048, make and wrap": lambda: token.make_wrapped(KeyAlgorithm.RSA_2048, sealing),
            "P-256, make and wrap": lambda: token.make_wrapped(KeyAlgorithm.P_256, sealing),
        }
        rows = {"RSA-2048, two C calls": bare, "RSA-2048, key.sign": ours}
        rows |= {name: per_cpu_second(work, seconds=seconds)[0] for name, work in others.items()}
        for name, rate in rows.items():
            print(f"{rate:10,.1f} /CPU s  {name}")
        print(f"{overhead_microseconds(token, sign_rsa):10.2f} us       around the two C calls of an RSA signature")
        print(f"{overhead_microseconds(token, sign_ec):10.2f} us       around the two C calls of an ECDSA signature")
        token.close()


if __name__ == "__main__":
    main()
