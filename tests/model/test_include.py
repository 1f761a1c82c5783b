"""Files merge by section; whatever would be lost or ambiguous is an error."""

from pathlib import Path

from tests.model.configs import PLAN, brief, check, compiled


def test_entries_of_all_files_come_together_in_written_order(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": f"include: [b.yaml, 'consumers/*.yaml', more.json]\n{PLAN}consumers: {{root: {{plan: standard}}}}\n",
        "b.yaml": "consumers: {b: {plan: standard}}\n",
        "consumers/2.yaml": "consumers: {two: {plan: standard}}\n",
        "consumers/1.yaml": "include: [deep/x.yaml]\nconsumers: {one: {plan: standard}}\n",
        "consumers/deep/x.yaml": "consumers: {deep: {plan: standard}}\n",
        "more.json": '{"consumers": {"json": {"plan": "standard"}}}',
    }
    assert [consumer.name for consumer in compiled(tmp_path, files).consumers] == [
        "root",
        "b",
        "one",
        "deep",
        "two",
        "json",
    ]


def test_a_name_defined_twice_shows_both_places(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": "include: [a.yaml, b.json]\nplans:\n  one: {limits: [1/second]}\n",
        "a.yaml": "plans:\n  two: {limits: [1/second]}\n  one: {limits: [2/second]}\n",
        "b.json": '{"plans":\n {"two": {"limits": ["1/second"]}}}',
    }
    found = check(tmp_path, files)
    assert brief(found) == [("duplicate_name", 3, 3), ("duplicate_name", 2, 3)]
    assert found[0].file.endswith("a.yaml")
    assert found[0].message.endswith("faregate.yaml:3:3")
    assert found[1].file.endswith("b.json")
    assert found[1].message.endswith("a.yaml:2:3")


def test_gateway_settings_merge_by_key(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": "include: [g.yaml]\ngateway: {workers: 2}\n",
        "g.yaml": "gateway: {data: state, workers: 3}\n",
    }
    assert [(d.code, d.path) for d in check(tmp_path, files)] == [("duplicate_name", "gateway.workers")]
    (tmp_path / "g.yaml").write_text("gateway: {data: state}\n")
    assert compiled(tmp_path, {"faregate.yaml": files["faregate.yaml"]}).gateway.data == str(
        tmp_path / "state"
    )


def test_errors_are_placed_in_the_file_they_stand_in(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": "include: [c/*]\n",
        "c/a.yaml": "consumers:\n  x: {plan: gold}\n",
        "c/b.json": '{"consumers":\n {"y": {"plan": "gold"}}}',
    }
    found = check(tmp_path, files)
    assert [(Path(d.file).name, d.line, d.column) for d in found] == [("a.yaml", 2, 13), ("b.json", 2, 17)]


def test_a_cycle_is_an_error_at_the_include_that_closes_it(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": "include: [a.yaml]\n",
        "a.yaml": "include:\n  - b.yaml\n",
        "b.yaml": "include:\n  - faregate.yaml\n",
    }
    found = check(tmp_path, files)
    assert brief(found) == [("include_cycle", 2, 5)]
    assert found[0].file.endswith("b.yaml")


def test_a_file_that_includes_itself_or_one_twice_is_an_error(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": f"include: ['*.yaml', one.yml, one.yml]\n{PLAN}",
        "one.yml": "consumers: {a: {plan: standard}}\n",
    }
    assert brief(check(tmp_path, files)) == [("include_cycle", 1, 11), ("include_cycle", 1, 30)]


def test_a_pattern_without_a_file_is_an_error_and_nothing_is_called_undefined(tmp_path: Path) -> None:
    assert brief(check(tmp_path, "include: [plans/*.yaml]\nconsumers: {a: {plan: gold}}\n")) == [
        ("include_missing", 1, 11)
    ]


def test_an_unreadable_file_does_not_hide_errors_of_the_others(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": "include: [bad.yaml]\nplans: {p: {limit: [1/second]}}\n",
        "bad.yaml": "plans: [\n",
    }
    assert {d.code for d in check(tmp_path, files)} == {"bad_yaml", "unknown_key"}


def test_include_must_be_a_list(tmp_path: Path) -> None:
    assert brief(check(tmp_path, "include: a.yaml\n")) == [("wrong_type", 1, 10)]
