"""Signatures with keys on a SoftHSM token: through the service, and by the two C calls that each takes."""

import ctypes
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployed import place
from load import Load
from measurement import Client, Counts, Row, measure

from intaglio.keys import cryptoki, layout
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.token import Token
from intaglio.keys.token_keys import TokenRSAPrivateKey

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from softhsm import MODULE, PIN, make_token

_PIN_NAME = "INTAGLIO_BENCH_PIN"
# DigestInfo of SHA-256 (RFC 8017 §9.2 note 1)
_CONTENT = bytes.fromhex("3031300d060960864801650304020105000420") + secrets.token_bytes(32)


def signatures(counts: Counts, settings: str) -> Row:
    """Measure the signing path on a token whose unwrapped keys stay open."""
    with tempfile.TemporaryDirectory(prefix="intaglio-bench-token-") as folder:
        made = make_token(Path(folder), "bench")
        os.environ |= {"SOFTHSM2_CONF": str(made.configuration), _PIN_NAME: PIN}
        bare = _Bare(Token(made.place, lambda: PIN, Path(folder) / "refused"))
        options = ("--hsm-module", str(MODULE), "--hsm-token", made.label, "--hsm-pin", f"env:{_PIN_NAME}")
        with place(*options) as home:
            home.set(f"[pool]\nmakers = 0\n{settings}")
            with home.serving() as service:
                client = Client(service)
                targets = client.signing_targets()
                with Load(client.plan("GET", targets)) as load:
                    load.run(counts.timestamps // 8)
                    found = measure(service, load, counts.timestamps, counts, bare.per_cpu_second)
    print(f"signatures on SoftHSM: {found.per_cpu_second:.0f} per server CPU s")
    return Row("hsm_sign_ratio", found.per_cpu_second / found.raw, "of raw SoftHSM signatures/CPU s", found.raw, 0.6)


class _Bare:
    """An unwrapped RSA-2048 key on a token, used by the C functions alone."""

    def __init__(self, token: Token) -> None:
        self._token = token
        sealing = secrets.token_bytes(16)
        token.make_sealing_key(sealing, "raw")
        key = token.unwrap(*token.make_wrapped(KeyAlgorithm.RSA_2048, sealing), sealing)
        if not isinstance(key, TokenRSAPrivateKey):
            raise TypeError("the token made another key than was asked for")
        self._key = key

    def per_cpu_second(self, seconds: float, threads: int = 2) -> float:
        """Return the rate of C_SignInit and C_Sign, for `seconds` of CPU in each thread."""
        with ThreadPoolExecutor(threads) as pool:
            looks = list(pool.map(lambda _: self._look(seconds), range(threads)))
        return sum(made for made, _ in looks) / sum(spent for _, spent in looks)

    def _look(self, seconds: float) -> tuple[int, float]:
        sessions = self._token.sessions
        session = sessions.borrow()
        try:
            work = self._work(session.handle, self._key._signer.held.handle(session))  # noqa: SLF001 - the C handle
            made = 0
            began = time.thread_time()
            while (spent := time.thread_time() - began) < seconds:
                work()
                made += 1
            return made, spent
        finally:
            sessions.give_back(session)

    def _work(self, session: int, handle: int) -> Callable[[], None]:
        functions = self._token.sessions.module.functions
        begin, sign = functions["C_SignInit"], functions["C_Sign"]
        mechanism = layout.mechanism(cryptoki.CKM_RSA_PKCS)
        output, length = (ctypes.c_char * 256)(), ctypes.c_ulong()

        def work() -> None:
            length.value = 256
            begin(session, ctypes.addressof(mechanism), handle)
            if sign(session, _CONTENT, len(_CONTENT), ctypes.addressof(output), ctypes.addressof(length)) != 0:
                raise RuntimeError("the token did not sign")

        return work
