"""``faregate schema``: the JSON Schema of the configuration, for editors.

With the YAML language server, write the schema to a file and name it in the first line of the configuration:
``# yaml-language-server: $schema=faregate.schema.json``.
"""

from json import dumps
from typing import Annotated

import typer


def command(
    json: Annotated[
        bool, typer.Option("--json", help="Accepted like everywhere; the output is JSON anyway.")
    ] = False,
) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from faregate.model.schema import configuration_schema

    _ = json
    print(dumps(configuration_schema(), indent=2))
