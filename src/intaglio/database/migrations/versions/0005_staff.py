"""People who run the service, their certificates, and what waits for a second one of them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add people, their certificates and approvals."""
    op.create_table(
        "staff",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("folded_name", sa.String(256), nullable=False, unique=True),
        sa.Column("roles", sa.String(128), nullable=False),
        sa.Column("account_id", sa.String(32), sa.ForeignKey("accounts.id")),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "staff_certificates",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("person_id", sa.String(32), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_staff_certificates_person_id", "staff_certificates", ["person_id"])
    op.create_index("ix_staff_certificates_key_sha256", "staff_certificates", ["key_sha256"])
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("act", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(32)),
        sa.Column("parameters", sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=False),
        sa.Column("after", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_by", sa.String(32), sa.ForeignKey("staff.id"), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(32), sa.ForeignKey("staff.id")),
        sa.Column("decided_at", sa.BigInteger()),
        sa.Column("result", sa.LargeBinary()),
    )
    op.create_index("ix_approvals_state", "approvals", ["state"])
