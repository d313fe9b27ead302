"""YAML as settings read it: whatever is in the file, there are values with places, or a ConfigError."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from esl_agent.config.source import Document, parse
from esl_agent.errors import ConfigError

#: Text made of what YAML gives a meaning to, which plain random text rarely holds.
YAMLISH = st.lists(
    st.sampled_from([*"ab:-?[]{},&*!|>'\"%@`#~\n\t 0.", ": ", "\n  ", "- ", "&a ", "*a", "!!int ", "\\ud800"])
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc :-#'\n\u00e9", max_size=8)
KEYS = st.text("abcxyz", min_size=1, max_size=3)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)


@example("!!int")
@example("a: !!int x")
@example("a: !!float 0x1")
@example("a: !!null x")
@given(st.text() | YAMLISH.map("".join))
def test_any_text_is_read_or_refused_with_its_file_and_never_breaks_the_reader(text: str) -> None:
    problems: list[str] = []
    data: Any = None
    try:
        data = parse(text, "f.yaml").data
    except ConfigError as error:
        problems = error.problems
    assert isinstance(data, dict) == (problems == [])
    assert all(problem.startswith("f.yaml") and "\n" not in problem for problem in problems)


@given(MAPPINGS)
def test_what_is_written_is_what_is_read(data: dict[str, Any]) -> None:
    assert parse(yaml.safe_dump(data), "f.yaml").data == data


@given(MAPPINGS, MAPPINGS)
def test_a_document_over_another_keeps_what_only_one_says(below: dict[str, Any], above: dict[str, Any]) -> None:
    merged = Document(above).over(Document(below)).data
    assert Document(above).over(Document(merged)).data == merged
    assert merged.keys() == below.keys() | above.keys()
    for key in merged.keys() - above.keys():
        assert merged[key] == below[key]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("0049", "0049"),
        ("+49", "+49"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("5000", 5000),
        ("-3", -3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("'5000'", "5000"),
        ("1e400", "1e400"),
        (f"{'9' * 400}.5", f"{'9' * 400}.5"),
        ("!!int x", "x"),
        ("!!bool x", "x"),
        (".inf", ".inf"),
        ("!!python/object/apply:os.getcwd []", []),
    ],
)
def test_a_scalar_means_what_an_operator_would_think(written: str, read: Any) -> None:
    value = parse(f"key: {written}\n", "f.yaml").data["key"]
    assert (type(value), value) == (type(read), read)


def test_every_value_knows_its_line() -> None:
    document = parse("a:\n  b:\n  - x\n  - y: 1\n", "f.yaml")
    lines = {("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1, "y"): 4, ("a", "b", 1, "missing"): 4}
    assert {path: document.place(path).line for path in lines} == lines
