"""The compiler's child as use cases see it (``cases.ports.Compiler``), with the file's names kept at hand.

What the file owns changes only when the child loads anew, so its names are asked for once a load.
"""

import bisect
import contextlib
from collections.abc import Mapping, Sequence

import msgspec

from faregate.kernel.changes import FILE, LIST_MAX, Answer, Change
from faregate.manager.cases.domain import Content, Section
from faregate.manager.cases.errors import Unavailable
from faregate.manager.cases.ports import Diagnostic
from faregate.manager.publishing.service import Compiler, CompilerError


class Compiling:
    """Adapts ``compiler``; every method raises Unavailable when it is not there."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._names: dict[str, list[str]] = {}
        self._names_of: Answer | None = None
        self._applied_to: Answer | None = None

    async def check(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        return told(await self._ask_changes("check", changes))

    async def apply(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        return told(await self._ask_changes("apply", changes))

    async def undo(self) -> None:
        with contextlib.suppress(CompilerError):  # another one begins without what was applied
            await self._compiler.undo()

    def kept(self) -> None:
        if self._compiler.loaded is not self._applied_to:
            self._compiler.restart()

    def anew(self) -> None:
        self._compiler.restart()

    def holds(self) -> bool:
        """Whether the child still has what was applied to it last."""
        return self._applied_to is not None and self._compiler.loaded is self._applied_to

    async def file_entry(self, section: Section, name: str) -> Content | None:
        names = await self.file_names(section)
        at = bisect.bisect_left(names, name)
        if at == len(names) or names[at] != name:
            return None
        try:
            answer = await self._compiler.show(section, name)
        except CompilerError as error:
            raise Unavailable(str(error)) from error
        for item in answer.items:
            if item.owner == FILE and isinstance(item.content, dict):
                return item.content
        return None

    async def file_names(self, section: Section) -> Sequence[str]:
        if (
            self._names_of is None
            or self._names_of is not self._compiler.loaded
            or section not in self._names
        ):
            await self._read_names(section)
        return self._names[section]

    async def _read_names(self, section: Section) -> None:
        found: list[str] = []
        after = ""
        while True:
            try:
                answer = await self._compiler.list(section, owner=FILE, after=after, limit=LIST_MAX)
            except CompilerError as error:
                raise Unavailable(str(error)) from error
            if self._names_of is not self._compiler.loaded:
                self._names, self._names_of = {}, self._compiler.loaded
                if found:  # it loaded anew in between
                    found, after = [], ""
                    continue
            found += [item.name for item in answer.items]
            if len(answer.items) < LIST_MAX:
                break
            after = answer.items[-1].name
        self._names[section] = found

    async def _ask_changes(self, kind: str, changes: Sequence[Mapping[str, object]]) -> Answer:
        asked = [Change(str(one["section"]), str(one["name"]), one["content"]) for one in changes]
        try:
            if kind == "check":
                return await self._compiler.check(asked)
            answer = await self._compiler.apply(asked)
        except CompilerError as error:
            raise Unavailable(str(error)) from error
        self._applied_to = self._compiler.loaded
        return answer


def told(answer: Answer) -> list[Diagnostic]:
    found: list[Diagnostic] = [msgspec.structs.asdict(one) for one in answer.diagnostics]
    if not answer.ok and not any(one.get("level") == "error" for one in found):
        raise Unavailable(answer.message or "The compiler refuses, and does not say why.")
    return found
