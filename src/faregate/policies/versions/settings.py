"""The declared forms of a version's planned interruptions and of its share of another's calls.

How a version is chosen stands with the versions themselves (``model.apis``).
"""

from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from faregate.model.values import Declared, Name, Percent, duration, fault
from faregate.policies.api_key.settings import Moment

BROWNOUTS_MAX = 16
SPLITS_MAX = 8


class Brownout(Declared):
    """A planned time in which calls of the version get 410, so that who still uses it notices."""

    at: Moment
    lasts: Annotated[float, *duration("1s", "1d")] = Field(alias="for")
    every: Annotated[float, *duration("1m", "365d")] | None = None

    @model_validator(mode="after")
    def _ends_before_the_next(self) -> "Brownout":
        if self.every is not None and self.every <= self.lasts:
            raise fault("bad_value", "the next one begins before this one ends", "`every` longer than `for`")
        return self


Brownouts: TypeAlias = Annotated[list[Brownout], Field(max_length=BROWNOUTS_MAX)]
SplitShares: TypeAlias = Annotated[dict[Name, Percent], Field(max_length=SPLITS_MAX)]
"""Percent of the calls by the version whose routes they run."""
Pins: TypeAlias = Annotated[dict[Name, Name], Field(max_length=256)]
"""Version by API."""
