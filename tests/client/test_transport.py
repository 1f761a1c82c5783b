"""How the client travels: what is sent again and what never, how refusals and conditions read."""

import httpx2
import pytest

from faregate.client import Client, Problem, Unreachable, Waiting, each


class Line:
    """A manager that gives ``answers`` one after another, exceptions among them; what it was asked, and how long
    the client waited in between.
    """

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.waited: list[float] = []
        self.client = Client(
            "http://manager/",
            "fgm_secret",
            transport=httpx2.MockTransport(self._answer),
            sleep=self.waited.append,
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fine(**members: object) -> httpx2.Response:
    return httpx2.Response(200, json=members)


def unavailable(retry_after: str = "1") -> httpx2.Response:
    return httpx2.Response(503, json={"code": "store_unavailable"}, headers={"Retry-After": retry_after})


REFUSED = httpx2.ConnectError("refused")
LOST = httpx2.ReadError("lost")


@pytest.mark.parametrize("fault", [REFUSED, LOST, unavailable(), httpx2.Response(429, json={})])
def test_what_only_reads_is_sent_again(fault: httpx2.Response | Exception) -> None:
    line = Line(fault, fine(revision=1, pending=0, gateways=[]))
    assert line.client.status_get()["revision"] == 1
    assert len(line.asked) == 2
    assert len(line.waited) == 1


def test_a_plan_only_reads_although_it_is_a_post() -> None:
    line = Line(LOST, fine(creates=0, updates=0, deletes=0, differences=[], diagnostics=[]))
    line.client.config_plan({"sections": {}})
    assert len(line.asked) == 2


def test_a_write_whose_answer_was_lost_is_not_sent_again_and_says_that_it_may_have_happened() -> None:
    line = Line(LOST)
    with pytest.raises(Unreachable, match="may have been made") as raised:
        line.client.plan_put("gold", {"spec": {}})
    assert raised.value.sent
    assert len(line.asked) == 1


def test_a_write_that_nobody_took_is_sent_again() -> None:
    line = Line(REFUSED, fine(name="gold"))
    assert line.client.plan_put("gold", {"spec": {}})["name"] == "gold"


def test_a_write_that_was_refused_as_unavailable_is_not_sent_again() -> None:
    line = Line(unavailable())
    with pytest.raises(Problem):
        line.client.plan_put("gold", {"spec": {}})
    assert len(line.asked) == 1


def test_it_gives_up_after_three_tries_and_says_where_nobody_answers() -> None:
    line = Line(REFUSED, REFUSED, REFUSED)
    with pytest.raises(Unreachable, match="no manager answers at http://manager") as raised:
        line.client.status_get()
    assert not raised.value.sent
    assert len(line.asked) == 3


def test_a_manager_that_asks_for_more_patience_than_that_is_not_waited_for() -> None:
    line = Line(unavailable("60"))
    with pytest.raises(Problem, match="503"):
        line.client.status_get()
    assert line.waited == []


def test_a_problem_has_its_code_its_detail_and_what_it_names() -> None:
    members = {
        "code": "stale",
        "detail": "It was changed.",
        "request_id": "r1",
        "diff": [{"path": "plans.gold", "before": 1, "after": 2}, "odd"],
    }
    line = Line(httpx2.Response(412, json=members))
    with pytest.raises(Problem, match=r"It was changed\.") as raised:
        line.client.plan_put("gold", {"spec": {}}, if_match="abc")
    problem = raised.value
    assert (problem.status, problem.code, problem.request_id) == (412, "stale", "r1")
    assert problem.diff == [{"path": "plans.gold", "before": 1, "after": 2}]
    assert problem.diagnostics == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
def test_an_answer_that_is_no_problem_document_is_one_all_the_same(body: bytes) -> None:
    line = Line(httpx2.Response(500, content=body, headers={"Content-Type": "application/json"}))
    with pytest.raises(Problem, match="500") as raised:
        line.client.plan_put("gold", {"spec": {}})
    assert raised.value.code == "status_500"


def test_a_change_that_waits_is_told_with_what_is_shown_once() -> None:
    told = {"change_request": "chg_1", "state": "proposed", "approvals_needed": 2, "secret": "fg_live_x"}
    line = Line(httpx2.Response(202, json=told))
    with pytest.raises(Waiting, match="chg_1") as raised:
        line.client.key_create("acme", {})
    assert raised.value.secrets == {"secret": "fg_live_x"}
    assert raised.value.approvals_needed == 2
    assert "fg_live_x" not in str(raised.value)


@pytest.mark.parametrize(
    ("etag", "sent"), [("abc", '"abc"'), ('"abc"', '"abc"'), ("*", "*"), ('W/"abc"', 'W/"abc"')]
)
def test_an_etag_is_quoted_once(etag: str, sent: str) -> None:
    line = Line(fine(), fine())
    line.client.plan_put("gold", {"spec": {}}, if_match=etag)
    assert line.asked[0].headers["if-match"] == sent
    line.client.plan_put("gold", {"spec": {}}, if_none_match="*")
    assert "if-match" not in line.asked[1].headers


def test_a_reason_in_any_script_is_one_line_of_utf_8() -> None:
    line = Line(fine())
    line.client.plan_put("gold", {"spec": {}}, reason="限流\r\nX-Evil: 1")
    raw = dict(line.asked[0].headers.raw)
    assert raw[b"x-faregate-reason"].decode() == "限流 X-Evil: 1"


def test_what_was_told_besides_the_content_is_kept() -> None:
    headers = {"Faregate-Revision": "7", "Faregate-Published": "false", "ETag": '"abc"', "X-Request-Id": "r"}
    line = Line(httpx2.Response(204, headers=headers))
    line.client.plan_delete("gold", if_match="*")
    assert line.client.told == (204, 7, False, "abc", "r")


def test_a_listing_is_followed_page_by_page() -> None:
    line = Line(fine(data=[1, 2], offset="b"), fine(data=[3]))
    assert list(each(line.client.plan_list, size=2)) == [1, 2, 3]
    assert [dict(one.url.params) for one in line.asked] == [{"size": "2"}, {"size": "2", "offset": "b"}]


def test_the_token_is_not_shown() -> None:
    assert "fgm_secret" not in repr(Line().client)


def test_a_write_with_an_idempotency_key_is_sent_again_with_the_same() -> None:
    line = Line(LOST, unavailable(), httpx2.Response(201, json={"secret": "fg_live_x"}))
    assert line.client.key_create("acme", {})["secret"] == "fg_live_x"
    keys = {one.headers["idempotency-key"] for one in line.asked}
    assert len(line.asked) == 3
    assert len(keys) == 1
    again = Line(httpx2.Response(201, json={}), httpx2.Response(201, json={}))
    again.client.key_create("acme", {})
    again.client.key_create("acme", {}, idempotency_key='"mine"')
    assert again.asked[0].headers["idempotency-key"] not in keys
    assert again.asked[1].headers["idempotency-key"] == '"mine"'
