"""The steps from an empty database to the present one, run by Alembic on a database that lacks any of them.

Whoever adds a step names it here: for a database that had the newest, the manager does not look for more, and
does not load Alembic, which takes half of a second.
"""

from typing import Final

NEWEST: Final = "0001"
"""The last step."""
