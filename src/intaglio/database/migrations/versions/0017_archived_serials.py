"""The archive of serial numbers of certificates that ended long ago."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "archived_serials",
        sa.Column("issuer", sa.String(32), primary_key=True),
        sa.Column("first", sa.String(40), primary_key=True),
        sa.Column("last", sa.String(40), nullable=False),
        sa.Column("begins", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("issued", sa.LargeBinary(), nullable=False),
        sa.Column("planned", sa.LargeBinary(), nullable=False),
    )
