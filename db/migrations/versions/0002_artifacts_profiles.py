"""Files that a run left, and what was found in profiler traces."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSONObject = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", BigId, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("detail", JSONObject, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_artifacts_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    op.create_index(op.f("ix_artifacts_run_id_kind"), "artifacts", ["run_id", "kind"], unique=False)

    op.create_table(
        "profiles",
        sa.Column("id", BigId, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("artifact_id", BigId, nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("step_seconds", JSONObject, nullable=False),
        sa.Column("split", JSONObject, nullable=False),
        sa.Column("classified_fraction", sa.Float(53), nullable=True),
        sa.Column("notes", JSONObject, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_profiles_artifact_id_artifacts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_profiles_run_id_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("artifact_id", name=op.f("uq_profiles_artifact_id")),
    )
    op.create_index(op.f("ix_profiles_run_id"), "profiles", ["run_id"], unique=False)

    op.create_table(
        "profile_operators",
        sa.Column("id", BigId, nullable=False),
        sa.Column("profile_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("direction", sa.String(length=16), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("self_seconds", sa.Float(53), nullable=False),
        sa.Column("total_seconds", sa.Float(53), nullable=False),
        sa.Column("layer", sa.Text(), nullable=True),
        sa.Column("shapes", sa.Text(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("flops", sa.Float(53), nullable=True),
        sa.Column("inferred", sa.Boolean(), nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("background", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name=op.f("fk_profile_operators_profile_id_profiles"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_operators")),
    )
    op.create_index(op.f("ix_profile_operators_profile_id"), "profile_operators", ["profile_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_profile_operators_profile_id"), table_name="profile_operators")

    op.drop_table("profile_operators")
    op.drop_index(op.f("ix_profiles_run_id"), table_name="profiles")

    op.drop_table("profiles")
    op.drop_index(op.f("ix_artifacts_run_id_kind"), table_name="artifacts")

    op.drop_table("artifacts")
