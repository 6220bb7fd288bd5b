"""Profiles of an operator's own, which account has which, which are stopped, and what is accredited."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the registers of profiles, stops and accreditations; accounts without a profile have that of their kind."""
    op.create_table(
        "signing_profiles",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "profile_stops",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(128), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "accreditations",
        sa.Column("issuer", sa.String(32), primary_key=True),
        sa.Column("reference", sa.String(256), nullable=False),
        sa.Column("evidence_sha256", sa.String(64), nullable=False),
        sa.Column("device", sa.Boolean(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
    )
    op.add_column("accounts", sa.Column("profile", sa.String(32)))
