"""Theoretical arrival times beside the quotas, by which rates are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody has been too fast yet."""
    op.add_column("quotas", sa.Column("tat", sa.BigInteger(), nullable=False, server_default="0"))
