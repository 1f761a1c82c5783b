"""Revisions, entries, gateways, people, change requests, usage, envelopes: all as of the first release.

While nobody runs a release, this one step makes the tables as ``tables`` describes them; from the first
release on, each change is a step of its own, and a test holds that all steps together make those tables.
"""

from alembic import op

from faregate.manager.database.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
