"""Alembic's entry point: runs inside the transaction that `schema.ensure` opened."""

from alembic import context

from trackside.db.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, render_as_batch=True)
context.run_migrations()
