"""The declared form of ``groups:``: what consumers are granted by belonging together."""

from typing import Annotated

from pydantic import Field

from faregate.model.values import Declared, Reference
from faregate.policies.permit.settings import ApiPlace, Grant

GROUPS_MAX = 32
"""Groups of one consumer."""


class Group(Declared):
    """Consumers name it; what it grants is theirs."""

    plan: Reference | None = None
    permissions: list[Grant] = Field(default_factory=list)
    apis: Annotated[list[ApiPlace] | None, Field(description="What its consumers may call.")] = None
