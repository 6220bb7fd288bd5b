"""The processes that stamp, and the last time that each told."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "stampers",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("told", sa.BigInteger(), nullable=False),
    )
    op.create_index("stampers_told", "stampers", ["told"])
