"""The declared form of an API's ways to authenticate: any one of the list suffices, an empty list means
public.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from faregate.model.values import fault

Method: TypeAlias = Literal["jwt", "api_key", "mtls"]


def _distinct(methods: list[Method]) -> list[Method]:
    if len(set(methods)) < len(methods):
        raise fault("bad_value", "a way to authenticate is named twice")
    return methods


Authenticate: TypeAlias = Annotated[
    list[Method],
    AfterValidator(_distinct),
    Field(description="Ways to authenticate, any one of which suffices; `[]` makes the API public."),
]
