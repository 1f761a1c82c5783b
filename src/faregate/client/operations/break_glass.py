"""Operations on break-glass, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import SessionMade


class GlassRead(TypedDict):
    """An act of break-glass. `reviewer` absent: the review is open."""

    id: str
    person: str
    reason: str
    opened: str
    until: str
    address: str
    review_due: str
    reviewer: NotRequired[str | None]
    reviewed: NotRequired[str | None]
    finding: NotRequired[str]


class GlassMade(TypedDict):
    """As the admin API has it."""

    break_glass: GlassRead
    session: SessionMade


class GlassPage(TypedDict):
    """As the admin API has it."""

    data: list[GlassRead]


class GlassWrite(TypedDict):
    """As the admin API has it."""

    reason: str
    minutes: NotRequired[int]


class ReviewWrite(TypedDict):
    """As the admin API has it."""

    finding: str


class BreakGlassOperations(Asking):
    """Operations on break-glass."""

    def break_glass_list(self, *, unreviewed: bool | None = None) -> GlassPage:
        """Acts of break-glass, the newest first: `GET /break-glass`."""
        answer: GlassPage = self._ask("break_glass_list", query={"unreviewed": unreviewed})
        return answer

    def break_glass(self, body: GlassWrite) -> GlassMade:
        """Own the gateway for an hour without a second person; everybody learns of it: `POST /break-
        glass`.
        """
        answer: GlassMade = self._ask("break_glass", body=body)
        return answer

    def break_glass_end(self, act: str) -> GlassRead:
        """End it before its time: `POST /break-glass/{act}/end`."""
        answer: GlassRead = self._ask("break_glass_end", (act,))
        return answer

    def break_glass_review(self, act: str, body: ReviewWrite) -> GlassRead:
        """Close the review of what another did; needs a fresh second factor: `POST /break-
        glass/{act}/review`.
        """
        answer: GlassRead = self._ask("break_glass_review", (act,), body=body)
        return answer
