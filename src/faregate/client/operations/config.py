"""Operations on config, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import Applied, PlanRead


class ConfigRead(TypedDict):
    """As the admin API has it."""

    sections: dict[str, dict[str, dict[str, Any]]]
    revision: int


class ConfigWrite(TypedDict):
    """Sections and their entries, as files have them. A section that is named becomes what is said
    here; others stay.
    """

    sections: dict[str, dict[str, dict[str, Any]]]
    team: NotRequired[str]
    reason: NotRequired[str]


class ConfigOperations(Asking):
    """Operations on config."""

    def config_get(self) -> ConfigRead:
        """Everything that may be seen, as a file would have it: `GET /config`."""
        answer: ConfigRead = self._ask("config_get")
        return answer

    def config_apply(
        self, body: ConfigWrite, *, base: int | None = None, force: bool | None = None
    ) -> Applied:
        """Make the named sections what is said here: `PUT /config`."""
        answer: Applied = self._ask("config_apply", query={"base": base, "force": force}, body=body)
        return answer

    def config_plan(self, body: ConfigWrite) -> PlanRead:
        """What applying it would change: `POST /config/plan`."""
        answer: PlanRead = self._ask("config_plan", body=body)
        return answer
