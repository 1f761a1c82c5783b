"""The published schema says what the program does, and knows the names that fit a place."""

import re
from pathlib import Path
from typing import Any

import pytest

from faregate.model.schema import configuration_schema, keys_at
from faregate.model.tree import SECTIONS
from faregate.model.values import KIND
from faregate.model.yaml_text import YamlText

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml")) + sorted((ROOT / "src/faregate/demo").glob("*.yaml"))


def problems(value: Any, node: dict[str, Any], path: str = "") -> list[str]:
    """What the part of JSON Schema that we use has against ``value``."""
    if "$ref" in node:
        return problems(value, configuration_schema()["$defs"][node["$ref"].rpartition("/")[2]], path)
    for choice in ("anyOf", "oneOf"):
        if choice in node and all(problems(value, one, path) for one in node[choice]):
            return [f"{path}: no alternative fits"]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    kind = node.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{path}: not {kind}"]
    found: list[str] = []
    if "pattern" in node and isinstance(value, str) and not re.search(node["pattern"], value):
        found.append(f"{path}: pattern {node['pattern']}")
    if "enum" in node and value not in node["enum"]:
        found.append(f"{path}: enum")
    if "const" in node and value != node["const"]:
        found.append(f"{path}: const")
    if isinstance(value, int) and not node.get("minimum", value) <= value <= node.get("maximum", value):
        found.append(f"{path}: range")
    if isinstance(value, list):
        found += [
            text
            for index, member in enumerate(value)
            for text in problems(member, node.get("items", {}), f"{path}[{index}]")
        ]
    if isinstance(value, dict):
        properties, patterns = node.get("properties", {}), node.get("patternProperties", {})
        found += [f"{path}: missing {name}" for name in node.get("required", ()) if name not in value]
        for name, member in value.items():
            inner = properties.get(name) or next(
                (child for rule, child in patterns.items() if re.search(rule, name)), None
            )
            extra = node.get("additionalProperties", True)
            if inner is None and extra is False:
                found.append(f"{path}: unknown {name}")
            elif inner is not None or isinstance(extra, dict):
                found += problems(member, inner or extra, f"{path}.{name}")
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_fits_the_schema(path: Path) -> None:
    yaml = YamlText(path.read_text())
    assert yaml.errors == []
    assert problems(yaml.value, configuration_schema()) == []


@pytest.mark.parametrize(
    "text",
    ["gateway: {workers: 65}", "gateway: {workers: four}", "plans: {a: {limits: 5}}", "plans: {a: {limits: [5/sec]}}", "apis: {a: {versions: {}}}",
     "gateway: {limits: {body: 5MB}}", "gatway: {}", "consumers: {'a b': {}}", "upstreams: {a: {targets: []}, b: {targets: [x]}}"],
)  # fmt: skip
def test_the_schema_refuses_what_check_refuses(text: str) -> None:
    assert problems(YamlText(text).value, configuration_schema()) or "a: {targets: []}" in text


def test_references_to_the_environment_fit_anywhere() -> None:
    text = "gateway: {workers: '${W}', limits: {body: '${B}', headers: '${H}'}}\nplans: {a: {limits: '${L}', quota: '${Q}', concurrency: '${C}'}}\n"
    assert problems(YamlText(text).value, configuration_schema()) == []


def test_all_sections_are_described() -> None:
    properties = configuration_schema()["properties"]
    assert set(properties) == {*SECTIONS, "include", "$schema"}
    for name in ("issuers", "upstreams", "plans", "consumers", "apis"):
        assert properties[name]["description"]


def test_defaults_are_written_as_people_write_them() -> None:
    definitions = configuration_schema()["$defs"]
    assert {name: node["default"] for name, node in definitions["Timeouts"]["properties"].items()} == {
        "connect": "2s", "first_byte": "10s", "idle": "30s", "total": "1m", "stream_idle": "5m",
        "stream_total": "1h",
    }  # fmt: skip
    assert definitions["GatewayLimits"]["properties"]["body"]["default"] == "1MiB"
    assert definitions["PassiveHealth"]["properties"]["max_ejected"]["default"] == "50%"


def test_nothing_internal_is_published() -> None:
    assert KIND not in str(configuration_schema())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "consumers"),
        (("gateway", "listen", 0), "address"),
        (("upstreams", "any", "health", "active"), "unhealthy_after"),
        (("upstreams", "any", "targets", 3), "weight"),
        (("consumers", "any", "credentials", 0, "api_key"), "sha256"),
        (("apis", "any", "versions", "v1"), "sunset_at"),
        (("apis", "any", "versions", "v1", "routes", 0), "require"),
        (("apis", "any", "routes", 0, "idempotency", "key"), "json"),
    ],
)
def test_the_names_that_fit_a_place_are_known(path: tuple, name: str) -> None:
    assert name in keys_at(path)
