"""How the client travels: what is sent again and what never, how refusals and conditions read."""

import json
import socket
import ssl
import traceback

import httpx2
import pytest

from faregate.client import Client, ClientError, Refused, ShownOnce, Unreachable, Waiting
from faregate.client.transport import _trust


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
    assert line.client.status()["revision"] == 1
    assert len(line.asked) == 2
    assert len(line.waited) == 1


def test_a_plan_only_reads_although_it_is_a_post() -> None:
    line = Line(LOST, fine(creates=0, updates=0, deletes=0, differences=[], diagnostics=[]))
    line.client.config.plan({})
    assert len(line.asked) == 2


def test_a_write_whose_answer_was_lost_is_not_sent_again_and_says_that_it_may_have_happened() -> None:
    line = Line(LOST)
    with pytest.raises(Unreachable, match="may have been made") as raised:
        line.client.plans.put("gold", {})
    assert raised.value.sent
    assert len(line.asked) == 1


def test_a_write_that_nobody_took_is_sent_again() -> None:
    line = Line(REFUSED, fine(name="gold"))
    assert line.client.plans.put("gold", {})["name"] == "gold"


def test_a_write_that_was_refused_as_unavailable_is_not_sent_again() -> None:
    line = Line(unavailable())
    with pytest.raises(Refused):
        line.client.plans.put("gold", {})
    assert len(line.asked) == 1


def test_it_gives_up_after_three_tries_and_says_where_nobody_answers() -> None:
    line = Line(REFUSED, REFUSED, REFUSED)
    with pytest.raises(Unreachable, match="no manager answers at http://manager") as raised:
        line.client.status()
    assert not raised.value.sent
    assert len(line.asked) == 3


def test_a_manager_that_asks_for_more_patience_than_that_is_not_waited_for() -> None:
    line = Line(unavailable("60"))
    with pytest.raises(Refused, match="503"):
        line.client.status()
    assert line.waited == []


def test_a_problem_has_its_code_its_detail_and_what_it_names() -> None:
    members = {
        "code": "stale",
        "detail": "It was changed.",
        "request_id": "r1",
        "diff": [{"path": "plans.gold", "before": 1, "after": 2}, "odd"],
    }
    line = Line(httpx2.Response(412, json=members))
    with pytest.raises(Refused, match=r"It was changed\.") as raised:
        line.client.plans.put("gold", {}, if_match="abc")
    problem = raised.value
    assert (problem.status, problem.code, problem.request_id) == (412, "stale", "r1")
    assert problem.diff == [{"path": "plans.gold", "before": 1, "after": 2}]
    assert problem.diagnostics == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
def test_an_answer_that_is_no_problem_document_is_one_all_the_same(body: bytes) -> None:
    line = Line(httpx2.Response(500, content=body, headers={"Content-Type": "application/json"}))
    with pytest.raises(Refused, match="500") as raised:
        line.client.plans.put("gold", {})
    assert raised.value.code == "status_500"


def test_a_change_that_waits_is_told_with_what_is_shown_once() -> None:
    told = {"change_request": "chg_1", "state": "proposed", "approvals_needed": 2, "secret": "fg_live_x"}
    line = Line(httpx2.Response(202, json=told))
    with pytest.raises(Waiting, match="chg_1") as raised:
        line.client.keys.create("acme")
    assert raised.value.secrets == {"secret": "fg_live_x"}
    assert raised.value.approvals_needed == 2
    assert "fg_live_x" not in str(raised.value)


@pytest.mark.parametrize(
    ("etag", "sent"), [("abc", '"abc"'), ('"abc"', '"abc"'), ("*", "*"), ('W/"abc"', 'W/"abc"')]
)
def test_an_etag_is_quoted_once(etag: str, sent: str) -> None:
    line = Line(fine(), fine())
    line.client.plans.put("gold", {}, if_match=etag)
    assert line.asked[0].headers["if-match"] == sent
    line.client.plans.put("gold", {}, if_none_match="*")
    assert "if-match" not in line.asked[1].headers


def test_a_reason_in_any_script_is_one_line_of_utf_8() -> None:
    line = Line(fine())
    line.client.plans.put("gold", {}, reason="限流\r\nX-Evil: 1")
    raw = dict(line.asked[0].headers.raw)
    assert raw[b"x-faregate-reason"].decode() == "限流 X-Evil: 1"


def test_what_was_told_besides_the_content_is_kept() -> None:
    headers = {"Faregate-Revision": "7", "Faregate-Published": "false", "ETag": '"abc"', "X-Request-Id": "r"}
    line = Line(httpx2.Response(204, headers=headers))
    line.client.plans.delete("gold", if_match="*")
    assert line.client.told == (204, 7, False, "abc", "r", "")


def test_a_listing_is_followed_page_by_page() -> None:
    line = Line(fine(data=[1, 2], offset="b"), fine(data=[3]))
    listed = line.client.plans.list(size=2)
    assert [next(listed), len(line.asked)] == [1, 1]
    assert list(listed) == [2, 3]
    assert [dict(one.url.params) for one in line.asked] == [{"size": "2"}, {"size": "2", "offset": "b"}]


def test_the_token_is_not_shown() -> None:
    client = Line().client
    for one in (client, client.plans, client.keys, client.versions("payments").routes("v2"), client.told):
        assert "fgm_secret" not in repr(one)


def test_a_new_key_is_text_that_no_repr_shows() -> None:
    line = Line(httpx2.Response(201, json={"credential": {"name": "key_1"}, "secret": "fg_live_x"}))
    made = line.client.keys.create("acme")
    assert (made["secret"], f"{made['secret']}", json.loads(json.dumps(made))["secret"]) == ("fg_live_x",) * 3
    assert "fg_live_x" not in repr(made)
    assert isinstance(made["secret"], ShownOnce)


def test_whatever_goes_wrong_is_one_exception_with_its_code() -> None:
    told = {"change_request": "chg_1", "state": "proposed", "approvals_needed": 2, "secret": "fg_live_x"}
    stale = {"code": "stale", "detail": "It was changed.", "status": 412}
    line = Line(httpx2.Response(412, json=stale), LOST, httpx2.Response(202, json=told))
    seen = []
    for _ in range(3):
        with pytest.raises(ClientError) as raised:
            line.client.keys.roll("key_1", idempotency_key="k") if len(seen) == 2 else line.client.plans.put(
                "g", {}
            )
        seen.append((raised.value.status, raised.value.code, raised.value.problem))
        assert "fg_live_x" not in repr(vars(raised.value)) + repr(raised.value)
    assert seen == [(412, "stale", stale), (0, "unreachable", {}), (202, "waiting", {})]


def test_a_write_with_an_idempotency_key_is_sent_again_with_the_same() -> None:
    line = Line(LOST, unavailable(), httpx2.Response(201, json={"secret": "fg_live_x"}))
    assert line.client.keys.create("acme")["secret"] == "fg_live_x"
    keys = {one.headers["idempotency-key"] for one in line.asked}
    assert len(line.asked) == 3
    assert len(keys) == 1
    again = Line(httpx2.Response(201, json={}), httpx2.Response(201, json={}))
    again.client.keys.create("acme")
    again.client.keys.create("acme", idempotency_key='"mine"')
    assert again.asked[0].headers["idempotency-key"] not in keys
    assert again.asked[1].headers["idempotency-key"] == '"mine"'


def test_a_session_that_is_opened_is_told_once_and_in_no_repr() -> None:
    cookie = "__Host-faregate=fgs_abc; Path=/; Secure; HttpOnly"
    line = Line(httpx2.Response(201, headers={"Set-Cookie": cookie}, json={"id": "ses_1"}))
    line.client.sessions.create("ann", "a password")
    assert line.client.told.session == "fgs_abc"
    assert "fgs_abc" not in repr(line.client.told)


@pytest.mark.parametrize("name", ["..", ".", "", "v1/routes/charge", "../keys"])
def test_no_name_leads_to_something_else(name: str) -> None:
    line = Line()
    with pytest.raises(ClientError, match="is no name; nothing was sent"):
        line.client.versions("payments").routes(name).delete("charge")
    assert line.asked == []


def test_a_name_stays_one_step_of_the_path() -> None:
    line = Line(httpx2.Response(204))
    line.client.plans.delete("a?b#c%2Fd \u00e9")
    assert line.asked[0].url.raw_path == b"/plans/a%3Fb%23c%252Fd%20%C3%A9"


@pytest.mark.parametrize("token", ["fgm_hidden\nX-Evil: 1", "fgm_hidden\0"])
def test_a_token_that_no_header_holds_is_refused_and_in_no_trace(token: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, token) as client, pytest.raises(ClientError, match="nothing was sent") as raised:
            client.status()
    assert not isinstance(raised.value, Unreachable)
    trace = "".join(traceback.format_exception(raised.value))
    assert "fgm_hidden" not in trace


def test_a_token_in_any_script_is_the_managers_to_refuse() -> None:
    line = Line(httpx2.Response(401, json={"code": "credential_invalid"}))
    transport = httpx2.MockTransport(line._answer)
    with Client("http://manager", "fgm_\u00e9", transport=transport) as client, pytest.raises(Refused):
        client.status()


@pytest.mark.parametrize("url", ["http://x:y", "http://[::"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(ClientError, match="is not a URL such as"):
        Client(url, "fgm_secret")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9090", "HTTP://127.0.0.1:9090"])
def test_who_asks_in_clear_reads_no_authorities_and_trusts_none(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(**_: object) -> None:
        raise AssertionError("certificates were read")

    monkeypatch.setattr("httpcore2.default_ssl_context", read)
    Client(url, "fgm_secret").close()
    context = _trust(url)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.cert_store_stats()["x509"]) == (ssl.CERT_REQUIRED, 0)
    assert _trust("https://127.0.0.1:9090") is True
