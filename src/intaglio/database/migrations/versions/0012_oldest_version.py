"""The database says which versions of the service can still work with it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Begin to say it: whoever knows this much gets on with what is only added later.

    A migration that takes something away, or gives it another meaning, raises it to the first that does without.
    """
    op.add_column("revision", sa.Column("oldest", sa.String(length=4), nullable=False, server_default="0012"))
