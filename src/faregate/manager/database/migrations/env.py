"""What Alembic runs for each migration: on the connection it was given, within its transaction."""

from alembic import context

from faregate.manager.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
