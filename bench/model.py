"""What so many documents a day would need, on paper, by the figures of a benchmark: `bench/model.py [bench.json]`.

A document takes a signature and a time-stamp, and for each `--signatures` of them an identity, whose key is made ahead.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of PostgreSQL 15: a row of the ledger with its indexes and what its commit adds to the write-ahead log, in batches of
# 16 (48,000 entries of signatures); a certificate of RSA-2048 in the register (docs/decisions/0024).
_ENTRY_BYTES, _LOG_BYTES, _CERTIFICATE_BYTES = 761, 888, 2_134
# Of one request and its answer, over TLS, measured at a client: signature, time-stamp, identity.
_SIGNATURE_BYTES, _STAMP_BYTES, _IDENTITY_BYTES = 1_438, 5_622, 4_502
_DAY = 86_400


@dataclass(frozen=True)
class Costs:
    """CPU seconds of the service for each, RSA-2048."""

    signature: float
    stamp: float
    identity: float
    key: float

    @classmethod
    def of(cls, figures: dict[str, Any]) -> "Costs":
        """Take them from what `bench/run.py` wrote."""

        def rate(name: str) -> float:
            return float(figures[name]["value"] * figures[name]["raw"])

        return cls(
            1 / rate("sign_rsa2048_postgresql_ratio"),
            1 / rate("timestamp_ratio"),
            1 / rate("identity_ratio"),
            1 / rate("identity_sustained_ratio"),
        )


def needs(costs: Costs, documents: float, peak: float, signatures: float, busy: float) -> dict[str, str]:
    """Return what `documents` a day need; at the peak it is `peak` times the mean, and cores are `busy` by then."""
    mean, each = documents / _DAY, 1 / signatures
    most = mean * peak
    # The key's cost has an identity's in it: of what is sustained, both were counted.
    cpu = costs.signature + costs.stamp + each * costs.key
    entries = 2 + 3 * each
    bytes_a_day = documents * (entries * _ENTRY_BYTES + each * _CERTIFICATE_BYTES)
    network = _SIGNATURE_BYTES + _STAMP_BYTES + each * _IDENTITY_BYTES
    return {
        "documents a second, mean and peak": f"{mean:,.0f} and {most:,.0f}",
        "CPU of nodes for each, ms": f"{cpu * 1e3:.2f}",
        "of these, keys made for identities, ms": f"{each * (costs.key - costs.identity) * 1e3:.2f}",
        f"cores of nodes at the peak, {busy:.0%} busy": f"{most * cpu / busy:,.0f}",
        "RSA-2048 operations of HSMs a second at the peak": f"{most * (2 + 2 * each):,.0f}",
        "rows of the ledger a second at the peak": f"{most * entries:,.0f}",
        "write-ahead log at the peak, MB a second": f"{most * entries * _LOG_BYTES / 1e6:,.1f}",
        "database, GB a day": f"{bytes_a_day / 1e9:,.1f}",
        "network of nodes at the peak, Mbit a second": f"{most * network * 8 / 1e6:,.0f}",
    }


def main() -> None:
    """Print a table for each number of documents, side by side."""
    parser = argparse.ArgumentParser(description="What so many documents a day would need.")
    parser.add_argument("figures", type=Path, nargs="?", default=Path("bench.json"))
    parser.add_argument("--documents", type=float, nargs="+", default=[1e7, 1e9], help="a day")
    parser.add_argument("--peak", type=float, default=4.0, help="times the mean")
    parser.add_argument("--signatures", type=float, default=10.0, help="with one identity")
    parser.add_argument("--busy", type=float, default=0.5, help="share of the cores' time at the peak")
    options = parser.parse_args()
    costs = Costs.of(json.loads(options.figures.read_text(encoding="utf-8")))
    tables = [needs(costs, one, options.peak, options.signatures, options.busy) for one in options.documents]
    print("| | " + " | ".join(f"{one:,.0f} a day" for one in options.documents) + " |")
    print("|---|" + "---:|" * len(tables))
    for what in tables[0]:
        print(f"| {what} | " + " | ".join(table[what] for table in tables) + " |")


if __name__ == "__main__":
    main()
