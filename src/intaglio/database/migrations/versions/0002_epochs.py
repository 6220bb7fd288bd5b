"""Identities' keys in a register of their own, under epochs.

Identities alive at this moment, ten minutes old at most, lose their keys: they were sealed under no epoch.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the registers of epochs and keys; drop the keys sealed without an epoch."""
    op.create_table(
        "epochs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("form", sa.String(length=16), nullable=False),
        sa.Column("begins_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "identity_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("form", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("born_at", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.String(length=64), nullable=True),
        sa.Column("certified_at", sa.BigInteger(), nullable=True),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch"], ["epochs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("identity_keys_to_claim", "identity_keys", ["algorithm", "claimed_by", "born_at"], unique=False)
    op.create_index("identity_keys_to_destroy", "identity_keys", ["destroyed_at", "not_after"], unique=False)
    op.create_index("identity_keys_by_epoch", "identity_keys", ["epoch", "destroyed_at"], unique=False)
    op.drop_column("identities", "sealed_key")
    op.drop_column("identities", "destroyed_at")
