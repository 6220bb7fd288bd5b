"""The evidence behind proven identities, sealed and erasable."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the store of evidence."""
    op.create_table(
        "identity_evidence",
        sa.Column("identity_id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("erase_at", sa.BigInteger(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("identity_id"),
    )
    op.create_index("ix_identity_evidence_account_id", "identity_evidence", ["account_id"], unique=False)
    op.create_index("ix_identity_evidence_erase_at", "identity_evidence", ["erase_at"], unique=False)
