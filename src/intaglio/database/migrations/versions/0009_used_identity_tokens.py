"""Identity tokens that were used, each of which serves once."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the record of used tokens."""
    op.create_table(
        "used_identity_tokens",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_index("ix_used_identity_tokens_until", "used_identity_tokens", ["until"], unique=False)
