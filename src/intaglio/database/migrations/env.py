"""Alembic runs the migrations on the connection that `database.migrate` gives it."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=False)
context.run_migrations()
