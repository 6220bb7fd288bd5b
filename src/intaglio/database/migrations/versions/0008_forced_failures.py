"""Failures can be forced in sandboxes."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the register of what is to fail."""
    op.create_table(
        "forced_failures",
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("failure", sa.String(length=32), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("account_id", "failure"),
    )
