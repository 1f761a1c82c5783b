"""The admin API keeps to its own OpenAPI document, whoever asks and whatever is sent: schemathesis plays each operation in every
role against a house behind a real socket, with good values and with bad ones.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.manager.operations import document
from tests.manager.served import Served, served
from tests.manager.world import GRANTS, World, build
from tests.support.managed import LONG

EXAMPLES = 20 if LONG else 1
"""Of each operation with good values, and with bad ones. The long form sends each in every role: about 48,000 calls,
a quarter of an hour alone on a core.
"""
ROLES = ["local", *GRANTS, "nobody"]
"""The machine's token, everybody with a token of their own, and nobody."""
SLOW = {"tool_check", "tool_openapi_import", "tool_openapi_diff", "tool_try"}
"""Each is a process: played by the machine's owner alone."""
GATEWAY = {"canary_start", "canary_promote", "canary_abandon"}
"""What a gateway must run for: without one the answer is 503."""

pytestmark = [pytest.mark.proof, pytest.mark.beside, pytest.mark.timeout(3600 if LONG else 120)]


class Stage:
    def __init__(self, one: Served, world: World) -> None:
        self.url = one.url
        self.headers = {**world.headers, "local": {"Authorization": f"Bearer {one.token}"}}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with served(tmp_path_factory.mktemp("house")) as one:
        assert one.house is not None
        world = asyncio.run_coroutine_threadsafe(build(one.house), one._loop).result(60)
        yield Stage(one, world)


class Player:
    """Plays one operation with good or with bad values, each case in several roles."""

    def __init__(self, stage: Stage, session: requests.Session) -> None:
        self._stage = stage
        self._session = session
        self.calls = 0
        self.role = ""
        self.answers: Counter[tuple[str, int]] = Counter()

    def play(self, operation: APIOperation, mode: GenerationMode) -> None:
        """Raises FailureGroup, of ``role``."""
        name = operation.definition.raw["operationId"]
        roles = ROLES[:1] if name in SLOW else ROLES
        excluded = [positive_data_acceptance, *([not_a_server_error] if name in GATEWAY else [])]

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        )
        def played(case: schemathesis.Case) -> None:
            turn = roles if LONG else [roles[(self.calls + more) % len(roles)] for more in range(4)]
            for self.role in turn:
                self.calls += 1
                answer = case.call_and_validate(
                    session=self._session, headers=self._stage.headers[self.role], excluded_checks=excluded
                )
                self.answers[self.role, answer.status_code // 100] += 1
                assert answer.status_code < 500 or answer.json()["code"] == "store_unavailable"

        played()


def test_every_answer_is_as_the_document_says(stage: Stage) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(document())
    schema.config.update(base_url=stage.url)
    wrong: dict[str, str] = {}
    with requests.Session() as session:
        player = Player(stage, session)
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    player.play(operation, mode)
                except FailureGroup as group:
                    text = "\n".join(str(one)[:900] for one in group.exceptions)
                    wrong[f"{operation.label} as {player.role}, {mode.value}"] = text
    print(f"{player.calls} calls", sorted(player.answers.items()))
    assert not wrong, "\n\n".join(f"{label}: {text}" for label, text in wrong.items())
    assert player.calls > 600
    for role in {*ROLES} - {"nobody"}:  # nobody lost its role on the way
        me = requests.get(f"{stage.url}/session", headers=stage.headers[role], timeout=10)
        assert me.status_code == 200, f"{role}: {me.text}"
        assert player.answers[role, 2], f"{role} was refused everything"
