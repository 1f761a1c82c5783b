"""Where calls find their version: which routes the router knows by path alone, which settle it, and whose record a shared call
keeps."""

import pytest

from faregate.gateway.choosing import Fronts, ReadyChoice, ReadySplit
from faregate.gateway.http1.request import parse_fields
from faregate.gateway.keeping import Keeping, Recordkeeping, keeping_of
from faregate.gateway.router import Router
from faregate.kernel.json_schema import Schema
from faregate.policies.validate.step import Checks, Misfit
from faregate.policies.versions.step import lifecycle
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute, Step, Verdict
from faregate.snapshot.data import Idempotency, Route, Version
from faregate.snapshot.validation import Answer, Body, Parameter, Validation
from faregate.snapshot.versions import Brownout, Choice, Split
from faregate.stores.ledger.about import decode_about
from faregate.stores.ledger.secrets import Secrets
from tests.support.model_ledger import ModelBook, ModelLedger

KEEPER = Recordkeeping(ModelLedger(ModelBook(lambda: 0.0)), Secrets(b"l" * 32, [(b"key1", b"s" * 32)]))  # type: ignore[arg-type]


def authenticate(call: Call) -> Verdict:
    return None


def permit(call: Call) -> Verdict:
    return None


def ready(route: Route, version: Version) -> ReadyRoute:
    made = ReadyRoute(route, version, None)
    life = lifecycle(version)
    made.steps = (*((life,) if life is not None else ()), authenticate, permit)
    made.keeping = keeping_of(KEEPER, route, version)
    made.log_fields = f'"api":"payments","version":"{version.name}","route":"{route.label}"'
    return made


def route(version: int, path: str, label: str, **more: object) -> Route:
    method, _, template = label.partition(" ")
    return Route("payments", version, method, path + template, label, "u", **more)  # type: ignore[arg-type]


def published(
    versions: list[Version], routes: list[Route]
) -> tuple[Router[ReadyRoute], list[ReadyRoute], Fronts]:
    def authenticating(_: Route) -> Step | None:
        return authenticate

    router: Router[ReadyRoute] = Router(())
    made = [ready(one, versions[one.version]) for one in routes]
    for one in made:
        if one.version.choice is None and not one.version.splits:
            router.add(one.data.method, one.data.template, one)
    fronts = Fronts(versions, authenticating, lambda *asked: keeping_of(KEEPER, *asked))
    assert all(step is None for step in fronts.publish(router, made))
    return router, made, fronts


def by_header(*names: str) -> list[Version]:
    return [
        Version(name, "/", choice=Choice("payments", "V", name == names[0], pinned=True)) for name in names
    ]


def test_plain_versions_are_found_by_path_alone() -> None:
    versions = [Version("v1", "/v1"), Version("v2", "/v2", splits=(Split(0, 10),))]
    routes = [route(0, "/v1", "GET /a"), route(1, "/v2", "GET /a"), route(1, "/v2", "GET /b")]
    router, made, _ = published(versions, routes)
    plain, shared, alone = (router.find(path) for path in (b"/v1/a", b"/v2/a", b"/v2/b"))
    assert plain is not None
    assert shared is not None
    assert alone is not None
    assert plain.methods == {b"GET": made[0]}
    assert not made[0].holds
    assert isinstance(shared.methods[b"GET"].deciding, ReadySplit)
    assert alone.methods[b"GET"] is made[2]  # nobody else has it


def test_a_call_that_may_go_elsewhere_passes_first_what_its_own_version_asks_of_anybody() -> None:
    brownouts = (Brownout(1, 1.0),)
    versions = [
        Version("v1", "/v1"),
        Version("v2", "/v2", "deprecated", brownouts=brownouts, splits=(Split(0, 10),)),
    ]
    router, made, _ = published(
        versions, [route(0, "/v1", "GET /a"), route(1, "/v2", "GET /a", body_bytes=5)]
    )
    found = router.find(b"/v2/a")
    assert found is not None
    front = found.methods[b"GET"]
    assert front.steps == made[1].steps[:2]
    assert front.body_bytes == made[0].body_bytes
    split = front.deciding
    assert isinstance(split, ReadySplit)
    assert split.own is made[1]
    assert split.passed == front.steps
    assert (
        split.others[0].log_fields == '"api":"payments","version":"v1","version_asked":"v2","route":"GET /a"'
    )


def test_versions_by_header_are_reached_through_a_choice_and_their_own_routers() -> None:
    versions = by_header("a", "b")
    routes = [
        route(0, "", "GET /{x}"),
        route(1, "", "GET /{y}"),
        route(1, "", "GET /lit"),
        route(1, "", "PUT /lit"),
    ]
    router, made, fronts = published(versions, routes)
    literal = router.find(b"/lit")
    assert literal is not None
    assert literal.methods == {}
    assert literal.allow == b"GET, PUT"
    choice = literal.choices[b"GET"]
    assert isinstance(choice, ReadyChoice)
    found = {name: one.find(b"/lit") for name, one in choice.table.routers.items()}
    assert {name: one.methods[b"GET"] for name, one in found.items() if one is not None} == {
        "a": made[0],
        "b": made[2],
    }
    assert choice.undecided is not None
    assert choice.undecided.steps == (authenticate,)
    assert choice.undecided.log_fields == '"api":"payments","route":"GET /lit"'
    assert choice.unknown.steps[0] is authenticate
    assert len(fronts.nodes) == 2
    assert fronts.made == []


def claimed(keeping: object, path: str) -> tuple[bytes, bytes, str, str]:
    assert isinstance(keeping, Keeping)
    call = Call(0.0, 0.0)
    call.identity = Identity(ReadyConsumer("acme"), "key_1")
    call.method, call.path, call.request_id = b"POST", path, b"r"
    fields = parse_fields(b"Host: a\r\nContent-Type: application/json\r\n\r\n", 128)
    claim = keeping.claim(call, b"k", path.encode(), fields, b"{}")
    about = decode_about(claim.about)
    return claim.key, claim.fingerprint, about.version, about.path


def test_a_payment_has_one_record_wherever_it_runs() -> None:
    versions = [Version("v3", "/v3"), Version("v2", "/v2", splits=(Split(0, 50),))]
    label = "POST /payments"
    routes = [
        route(0, "/v3", label, idempotency=Idempotency()),
        route(1, "/v2", label, idempotency=Idempotency()),
    ]
    _, made, fronts = published(versions, routes)
    own, shared = claimed(made[1].keeping, "/v2/payments"), claimed(fronts.made[0].keeping, "/v2/payments")
    assert own[:2] == shared[:2]
    assert own[2:] == ("v2", "/v2/payments")
    assert shared[2:] == ("v3", "/v3/payments")  # where a resolver asks
    called_itself = claimed(made[0].keeping, "/v3/payments")
    assert called_itself[0] == own[0]
    assert called_itself[1] != own[1]  # the same key, another request: refused, never run twice


@pytest.mark.parametrize(
    ("runs", "asked"),
    [("/api/v3", "/v2"), ("/v3", "/a/b/v2"), ("/", "/v2"), ("/v3", "/"), ("/v3", "/v2")],
)
def test_what_runs_on_a_path_of_another_depth_checks_the_same_parameters(runs: str, asked: str) -> None:
    versions = [Version("v3", runs), Version("v2", asked, splits=(Split(0, 50),))]
    label = "GET /payments/{id}"
    roots = [one.rstrip("/") for one in (runs, asked)]
    made = [ready(route(at, root, label), versions[at]) for at, root in enumerate(roots)]
    text = '{"type":"string","pattern":"^p[0-9]+$"}'
    segment = f"{roots[0]}/payments/{{id}}".split("/").index("{id}")
    made[0].checks = Checks(
        Validation(
            parameters=(
                Parameter("path", "id", text, required=True, segment=segment),
                Parameter("query", "q", "{}"),
            ),
            answers=(Answer("200", (Body("application/json", "json", '{"type":"object"}'),)),),
        ),
        Schema,
    )
    router: Router[ReadyRoute] = Router(())
    fronts = Fronts(versions, lambda _: authenticate, lambda *told: keeping_of(KEEPER, *told))
    assert all(step is None for step in fronts.publish(router, made))
    (via,) = fronts.made
    for checks, root in ((via.checks, roots[1]), (made[0].checks, roots[0])):
        assert isinstance(checks, Checks)
        checks.head(f"{root}/payments/p1", b"/?q=1", b"")
        with pytest.raises(Misfit, match="parameter_pattern"):
            checks.head(f"{root}/payments/evil", b"/", b"")
        checks.answer(200, b"{}", b"application/json")
        with pytest.raises(Misfit):
            checks.answer(200, b"[]", b"application/json")
