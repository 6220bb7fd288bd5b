"""A small home and an account in it, for tests of use cases without a listener."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from custody import beginning
from intaglio.accounts import onboarding, sandbox
from intaglio.accounts.kinds import PROFILE_OF, Kind
from intaglio.accounts.policy import load
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import rate
from intaglio.accounts.register import find, policy_document
from intaglio.accounts.sessions import Caller
from intaglio.database.engine import transaction
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import PROFILES
from intaglio.service.home import Home
from intaglio.service.initialisation import initialise
from intaglio.signing.digest import Digest

# A burst that is worth longer than any test sets a clock back.
RATES = dict.fromkeys(Resource, rate(1000, 1_000_000))
DIGEST = Digest(hashlib.sha256(b"x").digest())


def small_home(path: Path, public_url: str = "http://localhost:8080") -> Home:
    """Make a home whose authorities have EC keys, which cost nothing."""
    decided = beginning(algorithm="p-256", public_url=public_url)
    return initialise(path, decided, datetime.now(UTC), lambda _: None)


def caller(home: Home, account_id: str | None = None, **policy: Any) -> Caller:
    """Return a caller for an account, a new one if not said; `policy` stands above what the account's own says."""
    now = datetime.now(UTC)
    with transaction(home.engine) as connection:
        if account_id is None:
            account = onboarding.create_account(
                connection, home.chain, name="T", kind=Kind.INDIVIDUAL, hierarchy=Hierarchy.TEST, organization=None,
                country=None, granted={Resource.SIGNATURES: 10, Resource.TIMESTAMPS: 10}, now=now,
            )  # fmt: skip
        else:
            account = find(connection, account_id)
        document, _ = policy_document(connection, account.id)
        found = sandbox.find(connection, account.id) if account.hierarchy == Hierarchy.TEST else None
    checked = load({**document, **policy}, PROFILES[PROFILE_OF[account.kind]])
    return Caller(account, "c", "0" * 64, checked, now + timedelta(days=1), RATES, sandbox=found)
