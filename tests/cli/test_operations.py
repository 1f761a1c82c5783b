"""Everything that the admin API can, the command line can, by one closed table; and there is nothing in it that is
not.
"""

import pytest
import typer

from faregate.cli.app import COMMANDS, _command
from faregate.cli.operation_paths import operation_at
from faregate.cli.operations import COMMAND_OF
from faregate.client import OPERATIONS
from faregate.manager.admin.app import create_admin

_METHODS = {"list": "GET", "get": "GET", "put": "PUT", "patch": "PATCH", "delete": "DELETE"}
MANAGING = {"plan", "apply", "history", "rollback", "key", "config", "admin"}
"""The commands that are over the admin API alone."""


def ids() -> set[str]:
    document = create_admin(None).openapi()
    return {
        one["operationId"]
        for ways in document["paths"].values()
        for method, one in ways.items()
        if method in {"get", "put", "post", "patch", "delete"}
    }


def commands() -> set[str]:
    """Every command as it is typed."""
    found = set()
    for name in COMMANDS:
        command = _command(name).commands[name]
        if isinstance(command, typer.core.TyperGroup):
            found |= {f"{name} {word}" for word in command.commands}
        else:
            found.add(name)
    return found


def test_every_operation_has_a_command_and_no_row_is_left_over() -> None:
    missing, over = ids() - set(COMMAND_OF), set(COMMAND_OF) - ids()
    assert not missing, f"give them rows in faregate/cli/operations.py: {sorted(missing)}"
    assert not over


def test_every_command_of_the_table_exists_and_none_over_the_api_is_missing_from_it() -> None:
    told = {" ".join(one.split()[:2]) if one.split()[0] == "config" else one for one in COMMAND_OF.values()}
    assert told <= commands()
    assert {one for one in commands() if one.split()[0] in MANAGING} <= told


@pytest.mark.parametrize(
    ("operation", "row"), [item for item in COMMAND_OF.items() if item[1].startswith("config ")]
)
def test_a_path_of_the_table_leads_to_its_operation(operation: str, row: str) -> None:
    _, verb, *rest = row.split()
    if verb in {"show", "schema"}:
        assert operation == {"show": "config_get", "schema": "schema_get"}[verb]
        return
    path = rest[0].replace("NAME", "n").replace("PART", "p").replace("VERSION", "v").replace("ID", "i")
    found, values = operation_at(_METHODS[verb], path, listing=verb == "list")
    assert found == operation
    assert set(values) == set(OPERATIONS[operation].in_path)
