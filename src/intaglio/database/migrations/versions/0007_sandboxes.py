"""Test accounts have sandboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the register of sandboxes, and the number that says that one has changed."""
    op.create_table(
        "sandboxes",
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("ahead_seconds", sa.BigInteger(), nullable=False),
        sa.Column("era", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("account_id"),
    )
    op.add_column("revision", sa.Column("sandboxes", sa.BigInteger(), nullable=False, server_default="0"))
