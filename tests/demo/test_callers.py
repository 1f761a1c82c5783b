"""The callers: honest ones are never refused by their own doing, the others are what the demo says they are."""

import asyncio
import itertools
from collections import Counter
from random import Random

import msgspec
import pytest

from faregate.demo import callers
from faregate.demo.callers import Caller, Planned, Shop, Traffic, cast
from faregate.demo.folder import KEY_HOLDERS, SUBJECTS, Credentials
from faregate.demo.http_client import Answer, NoAnswerError, Request
from faregate.demo.payment_service.app import create_app

CREDENTIALS = Credentials(
    tokens={subject: f"token-{subject}" for subject in SUBJECTS},
    api_keys={consumer: f"fg_{consumer}" for consumer in KEY_HOLDERS},
    expired="token-expired",
    forged="token-forged",
)


def lines(headers):
    return dict(line.split(": ", 1) for line in headers.decode().splitlines())


@pytest.mark.parametrize("path", ["/v1", "/v2"])
def test_a_shop_makes_only_calls_that_the_service_accepts_and_every_kind_of_them(tmp_path, path):
    client = create_app(tmp_path / "payments.db").test_client()
    kinds = Counter()
    for planned in itertools.islice(Shop(path, b"", Random(1)).plan(), 400):
        request = planned.request
        answer = client.open(
            request.path, method=request.method, data=request.body, content_type="application/json"
        )
        assert answer.status_code < 400, (request, answer.text)
        planned.learn(Answer(answer.status_code, answer.data))
        kinds[f"{request.method} {request.path.rsplit('/', 1)[-1].split('?')[0].split('_')[0]}"] += 1
    assert set(kinds) == {"POST payments", "POST capture", "POST refunds", "GET payments", "GET pay"}


def test_a_shop_without_the_permission_refunds_nothing():
    shop = Shop("/v2", b"", Random(1), refunds=False)
    for number, planned in enumerate(itertools.islice(shop.plan(), 300)):
        assert not planned.request.path.endswith("/refunds")
        body = {"id": f"pay_{number}", "amount_minor": 100, "status": "authorized"}
        status = 200 if planned.request.path.endswith("/capture") else 201
        planned.learn(Answer(status, msgspec.json.encode(body)))


def keyed_calls(plan, number):
    """The next ``number`` payments that a shop wants made."""
    creates = (
        planned for planned in plan if planned.request.path.endswith("/payments") and planned.request.body
    )
    return itertools.islice(creates, number)


@pytest.mark.parametrize("end", ["lost", "unknown", "in flight"])
def test_a_payment_without_a_good_answer_is_sent_again_as_it_was_three_times_at_most(end):
    shop = Shop("/v2", b"A: b\r\n", Random(1))
    shop._seen.append("pay_0")
    (first,) = keyed_calls(shop.plan(), 1)
    made = [first.request]
    planned = first
    for _ in range(3):
        planned.lost() if end == "lost" else planned.learn(Answer(502 if end == "unknown" else 409))
        (planned,) = keyed_calls(shop.plan(), 1)
        made.append(planned.request)
    assert len(set(made)) == 1, "same key, same body"
    planned.lost()
    (other,) = keyed_calls(shop.plan(), 1)
    assert other.request.headers != first.request.headers
    assert lines(first.request.headers)["Idempotency-Key"]


def test_now_and_then_a_payment_is_sent_again_although_it_was_answered():
    shop = Shop("/v2", b"", Random(1))
    keys = Counter()
    body = msgspec.json.encode({"id": "pay_1", "amount_minor": 1, "status": "declined"})
    for planned in keyed_calls(shop.plan(), 500):
        keys[planned.request.headers] += 1
        planned.learn(Answer(201, body))
    assert set(keys.values()) == {1, 2}
    assert 5 < sum(times == 2 for times in keys.values()) < 50


def test_two_runs_use_different_keys():
    first, second = (next(keyed_calls(Shop("/v2", b"", Random(1)).plan(), 1)).request for _ in range(2))
    assert first.body == second.body
    assert first.headers != second.headers


def test_what_a_shop_remembers_is_bounded():
    shop = Shop("/v2", b"", Random(1))
    for number in range(2 * callers._REMEMBERED_MAX):
        body = {"id": f"pay_{number}", "amount_minor": 1, "status": "authorized"}
        shop._created(Answer(201, msgspec.json.encode(body)))
    assert len(shop._seen) == len(shop._authorized) == callers._REMEMBERED_MAX


def test_together_they_make_about_two_hundred_calls_a_second():
    assert sum(caller.rate for caller in cast(CREDENTIALS)) == pytest.approx(200, rel=0.05)


def test_every_caller_presents_its_own_credential():
    presented = {}
    for caller in cast(CREDENTIALS):
        headers = [lines(planned.request.headers) for planned in itertools.islice(caller.plan, 3)]
        presented[caller.name] = [next(iter(header.values()), None) for header in headers]
    assert presented == {
        "acme-shop": ["Bearer token-acme-shop"] * 3,
        "northwind": ["Bearer token-northwind"] * 3,
        "corner-kiosk": ["fg_corner-kiosk"] * 3,
        "ledger-report": ["fg_ledger-report"] * 3,
        "hasty-bot": ["Bearer token-hasty-bot"] * 3,
        "stranger": ["Bearer token-forged", "Bearer token-expired", None],
    }


class Scripted:
    """A connection that answers from a list, and not at all after it."""

    answers = ()
    closed = 0

    def __init__(self, port):
        pass

    async def call(self, request):
        answer = next(Scripted.answers, None)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    def close(self):
        Scripted.closed += 1


@pytest.fixture
def reported(monkeypatch):
    """Lets one caller make calls that are answered by a script; returns what it reported, None for no answer."""
    monkeypatch.setattr(callers, "Connection", Scripted)
    monkeypatch.setattr(Scripted, "closed", 0)

    def play(answers, within_s):
        monkeypatch.setattr(Scripted, "answers", iter(answers))
        plan = itertools.repeat(Planned(Request("GET", "/"), Shop("/v2", b"", Random(1))._created))
        reports = []

        async def calls():
            enough = asyncio.Event()

            def report(answer):
                reports.append(answer and answer.status)
                if len(reports) == len(answers):
                    enough.set()

            traffic = Traffic(1, report)
            traffic.start([Caller("x", 1000, 1, plan)])
            await asyncio.wait_for(enough.wait(), 5)
            await asyncio.sleep(0.01)  # into the call that is never answered
            await traffic.end(within_s)
            assert all(task.done() for task in traffic.tasks)

        asyncio.run(calls())
        return reports

    return play


def test_a_call_without_an_answer_is_told_to_its_plan_and_one_with_a_bad_answer_is_not(monkeypatch):
    monkeypatch.setattr(callers, "Connection", Scripted)
    told = []

    async def calls():
        for answer in (NoAnswerError("cut"), Answer(201, b"not json")):
            monkeypatch.setattr(Scripted, "answers", iter([answer]))
            learn = Shop("/v2", b"", Random(1))._created
            planned = Planned(Request("GET", "/"), learn, lambda answer=answer: told.append(answer))
            await Traffic(1, lambda _answer: None)._one_call(Scripted(1), planned)

    asyncio.run(calls())
    assert [type(each) for each in told] == [NoAnswerError]


def test_a_caller_goes_on_after_a_call_without_a_usable_answer(reported):
    answers = [Answer(200), NoAnswerError("cut"), Answer(201, b"not json"), Answer(200)]
    assert reported(answers, within_s=0.01)[:4] == [200, None, None, 200]
    assert Scripted.closed == 1


def test_a_call_given_up_at_the_end_is_reported_once_as_not_answered(reported):
    assert reported([Answer(200)], within_s=0.01) == [200, None]


def test_a_call_on_its_way_may_finish_before_the_end():
    async def calls():
        reports = []

        async def slowly(_connection, _request):
            await asyncio.sleep(0.03)
            return Answer(200)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(callers.Connection, "call", slowly)
            traffic = Traffic(1, reports.append)
            traffic.start([Caller("x", 1000, 1, itertools.repeat(Planned(Request("GET", "/"))))])
            await asyncio.sleep(0.01)
            await traffic.end(5)
        return reports

    assert asyncio.run(calls()) == [Answer(200)]
