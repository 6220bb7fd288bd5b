"""Who put a policy in force stands beside it; of those from before, only the ledger knows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the author of a policy's version."""
    op.add_column("policies", sa.Column("author", sa.String(length=64), nullable=True))
