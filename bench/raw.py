"""What the library does alone: RSA-2048 signatures and keys per second of CPU, nothing around them."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_PADDING = padding.PKCS1v15()
_PREHASHED = Prehashed(hashes.SHA256())
_ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
_ECDSA = ec.ECDSA(_PREHASHED)


def rsa_signatures_per_cpu_second(seconds: float, threads: int = 2) -> float:
    """Return the rate of PKCS#1 v1.5 over a prehashed SHA-256 (RFC 8017 §8.2), for `seconds` of CPU in each thread.

    Under load both cores of the machine are busy, with the service and with what loads it. Cores that share their
    units sign slower then, so the library is looked at with two threads: one alone would measure another machine.
    """
    return _rate(partial(_KEY.sign, os.urandom(32), _PADDING, _PREHASHED), seconds, threads)


def p256_signatures_per_cpu_second(seconds: float, threads: int = 2) -> float:
    """Return the rate of ECDSA on P-256 over a prehashed SHA-256, in the same way."""
    return _rate(partial(_ELLIPTIC.sign, os.urandom(32), _ECDSA), seconds, threads)


def _rate(sign: Callable[[], bytes], seconds: float, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(_look, [sign] * threads, [seconds] * threads))
    return sum(made for made, _ in looks) / sum(spent for _, spent in looks)


def rsa_keys_per_cpu_second(number: int, threads: int = 2) -> float:
    """Return the rate of RSA-2048 key generation, for so many keys in all."""
    with ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(_make, [number // threads] * threads))
    return number // threads * threads / sum(looks)


def _make(number: int) -> float:
    began = time.thread_time()
    for _ in range(number):
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return time.thread_time() - began


def _look(sign: Callable[[], bytes], seconds: float) -> tuple[int, float]:
    made = 0
    began = time.thread_time()
    while (spent := time.thread_time() - began) < seconds:
        for _ in range(50):
            sign()
        made += 50
    return made, spent
