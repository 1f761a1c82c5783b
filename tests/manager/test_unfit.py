"""What does not fit an operation's shape is told in the words that files get, never with the value."""

from typing import Any

from tests.manager.conftest import InHouse
from tests.manager.house import House

NAMES = "letters, digits, `.`, `_` and `-`, 128 at most, a letter or digit first"

TABLE: list[tuple[str, str, object, str, str, str, str, str]] = [
    ("PUT", "/plans/gold", {}, "body.spec", "missing_key", "`spec` is missing", "", ""),
    ("PUT", "/plans/gold", {"spec": {}, "taem": "a"}, "body.taem", "unknown_key",
     "`taem` has no meaning here", "spec, team", "team"),
    ("PUT", "/plans/gold", {"spec": 5}, "body.spec", "wrong_type", "the value is a number", "a mapping", ""),
    ("PUT", "/plans/gold", {"spec": {}, "team": "A!"}, "body.team", "bad_value", "not of the right form",
     "small letters, digits and `-`, 63 at most, a small letter or digit first", ""),
    ("GET", "/plans/!", None, "path.name", "bad_value", "not of the right form", NAMES, ""),
    ("GET", "/plans?size=0", None, "query.size", "bad_value", "too small", "at least 1", ""),
    ("GET", "/plans?size=x", None, "query.size", "wrong_type", "the value is text", "a whole number", ""),
    ("POST", "/credentials/key_1/roll", {"overlap_s": 17_280_000}, "body.overlap_s", "bad_value",
     "too large", "at most 7776000", ""),
    ("POST", "/credentials/key_1/roll", {"overlap_s": "60"}, "body.overlap_s", "wrong_type",
     "the value is text", "a whole number", ""),
    ("POST", "/consumers/acme/keys", {"mode": "real"}, "body.mode", "bad_value", "not one of the choices",
     "live or test", ""),
    ("POST", "/consumers/acme/keys", {"note": "x" * 201}, "body.note", "bad_value", "too long",
     "at most 200 characters", ""),
    ("PUT", "/users/ann/grants", {"grants": [{"rolle": "owner", "role": "owner"}]}, "body.grants[0].rolle",
     "unknown_key", "`rolle` has no meaning here", "role, scope", "role"),
    ("PUT", "/apis/pay/versions/v1", {"spec": 5}, "body.spec", "wrong_type", "the value is a number",
     "a mapping or text", ""),
]  # fmt: skip


async def refused(house: House, method: str, path: str, body: object) -> Any:
    answer = await house.client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    return answer.json()


def test_each_kind_has_our_words(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        for method, path, body, *wanted in TABLE:
            problem = await refused(house, method, path, body)
            (one,) = problem["diagnostics"]
            told = [one.get(key, "") for key in ("path", "code", "message", "expected", "nearest")]
            assert told == wanted
            assert problem["detail"].startswith(f"{wanted[0]}: {wanted[2]}")

    in_house(test)


def test_the_sentence_names_more_than_the_first_and_no_value(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        problem = await refused(house, "PUT", "/plans/gold", {"taem": "fgm_secret", "a": 1, "b": 2})
        assert len(problem["diagnostics"]) == 4
        detail = problem["detail"]
        assert "`spec` is missing" in detail
        assert "did you mean `team`?" in detail
        assert detail.endswith("and 1 more")
        assert "fgm_secret" not in str(problem)

    in_house(test)
