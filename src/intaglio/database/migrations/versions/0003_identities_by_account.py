"""An account's live identities are found by account: for minutes after a rollover, who issued them is asked."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put an index by account in the place of the one by time, which nothing asks for any more."""
    op.create_index("identities_by_account", "identities", ["account_id", "not_after"], unique=False)
    op.drop_index(op.f("ix_identities_not_after"), "identities")
