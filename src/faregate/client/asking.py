"""What every group of operations is built on: asking by the operation's id."""

from collections.abc import Mapping
from typing import Any

from faregate.client.operations.table import OPERATIONS
from faregate.client.transport import Told, Transport


class Asking:
    """``told``: what the last answer said besides its content."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.told = Told()

    def _ask(
        self,
        operation: str,
        values: tuple[object, ...] = (),
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Any:
        """The answer to the operation ``operation``, by its id. Raises Problem, Unreachable, Waiting."""
        content, self.told = self._transport.send(
            OPERATIONS[operation], values, query or {}, headers or {}, body
        )
        return content

    def ask(
        self,
        operation: str,
        values: Mapping[str, object],
        body: object = None,
    ) -> Any:
        """Any operation, by its id and its parameters by their names on the wire. Raises KeyError for a
        parameter of the path that is missing, Problem, Unreachable, Waiting.
        """
        known = OPERATIONS[operation]
        return self._ask(
            operation,
            tuple(values[name] for name in known.in_path),
            query={name: values[name] for name in known.query if name in values},
            headers={name: str(values[name]) for name in known.headers if name in values},
            body=body,
        )
