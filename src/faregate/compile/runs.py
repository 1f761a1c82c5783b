"""The records of all consumers in runs, so that a change of one of 100,000 encodes some dozens anew.

A run ends where ``snapshot.encoded`` ends a section whatever stands around it; what comes of a run therefore
depends on the run alone. Runs never change: a change makes a new list, and the former one is the undo.
"""

from collections.abc import Iterable, Mapping

from faregate.snapshot.data import Consumer
from faregate.snapshot.encoded import Section, cut_consumers, ends_section


class Run:
    """Consecutive consumers; ``sections``: their encoded form, made when first needed."""

    __slots__ = ("_sections", "records")

    def __init__(self, records: tuple[Consumer, ...]) -> None:
        self.records = records
        self._sections: list[Section] | None = None

    @property
    def sections(self) -> list[Section]:
        if self._sections is None:
            self._sections = cut_consumers(self.records)
        return self._sections


class Runs:
    """All consumers, in runs. ``changed`` makes another; both share what is the same."""

    __slots__ = ("_list", "_places")

    def __init__(self, records: Iterable[Consumer] = ()) -> None:
        self._list = _split(records)
        self._places: dict[str, Run] = {one.name: run for run in self._list for one in run.records}

    def changed(self, updates: Mapping[str, Consumer | None]) -> "Change":
        """The change that gives each name its record, None taking it away; new names come last, in order."""
        return Change(self._list, self._places, updates)

    def take(self, change: "Change") -> None:
        """Makes ``change``, or takes it back when it is made."""
        self._list, change.runs = change.runs, self._list
        for name, run in list(change.places.items()):
            former = self._places.get(name)
            if run is None:
                self._places.pop(name, None)
            else:
                self._places[name] = run
            change.places[name] = former

    def sections(self) -> list[Section]:
        return [section for run in self._list for section in run.sections]


class Change:
    """A change of ``Runs`` that can be made and taken back. ``runs``: the list on the other side of it;
    ``places``: where names stand there.
    """

    __slots__ = ("places", "runs")

    def __init__(
        self, runs: list[Run], places: Mapping[str, Run], updates: Mapping[str, Consumer | None]
    ) -> None:
        fresh = [record for name, record in updates.items() if record is not None and name not in places]
        touched = {id(places[name]) for name in updates if name in places}
        self.places: dict[str, Run | None] = {}
        self.runs: list[Run] = []
        gathered: list[Consumer] = []
        last = len(runs) - 1
        for number, run in enumerate(runs):
            if not gathered and id(run) not in touched and not (fresh and number == last):
                self.runs.append(run)
                continue
            for record in run.records:
                update = updates.get(record.name, record)
                if update is None:
                    self.places[record.name] = None
                else:
                    gathered.append(update)
            if gathered and ends_section(gathered[-1].name):
                self._put(gathered)
                gathered = []
        self._put([*gathered, *fresh])

    def _put(self, records: list[Consumer]) -> None:
        for run in _split(records):
            self.runs.append(run)
            for record in run.records:
                self.places[record.name] = run


def _split(records: Iterable[Consumer]) -> list[Run]:
    runs: list[Run] = []
    gathered: list[Consumer] = []
    for record in records:
        gathered.append(record)
        if ends_section(record.name):
            runs.append(Run(tuple(gathered)))
            gathered = []
    if gathered:
        runs.append(Run(tuple(gathered)))
    return runs
