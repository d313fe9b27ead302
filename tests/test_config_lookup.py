"""Which DID answers a number."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.config import Config, load
from esl_agent.config.did import normalised
from tests.test_config_files import Settings, Shelf

WRITTEN = ["5000", "+49 30 1234", "^4930", "^49", "^+49 30 12", "default"]


def config_of(directory: Path, answers: list[str]) -> Config:
    settings = Settings(directory)
    (directory / "dids/default.yaml").unlink()
    for index, answer in enumerate(answers):
        who = "default: true" if answer == "default" else f"did: '{answer}'"
        settings.did(f"prefix: '{answer[1:]}'" if answer.startswith("^") else who, f"{index}.yaml")
    return load(directory, environment={}, engines=Shelf())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return config_of(tmp_path_factory.mktemp("conf"), WRITTEN)


@pytest.mark.parametrize(
    ("dialled", "answers"),
    [
        ("5000", 0),
        ("49301234", 1),
        ("+49 (30) 12-34", 1),
        ("4930", 2),
        ("4930999", 2),
        ("4912", 3),
        ("+4930125", 4),
        ("493012345", 4),
        ("50001", 5),
        ("500", 5),
        ("", 5),
        ("sales'; drop", 5),
    ],
)
def test_the_whole_number_wins_then_the_longest_prefix_then_the_default(
    config: Config, dialled: str, answers: int
) -> None:
    did = config.find(dialled)
    assert did is not None
    assert did.file.stem == str(answers)


def test_without_a_default_an_unknown_number_is_nobodys(tmp_path: Path) -> None:
    config = config_of(tmp_path, ["5000"])
    assert config.find("5000") is not None
    assert config.find("5001") is None
    assert config.find("") is None


@given(st.text(max_size=300))
def test_any_text_that_is_dialled_finds_exactly_what_the_rule_says(config: Config, dialled: str) -> None:
    number = normalised(dialled)
    exact = [w for w in WRITTEN if w[0] not in "^d" and normalised(w) == number]
    prefixes = [w for w in WRITTEN if w[0] == "^" and number.startswith(normalised(w[1:]))]
    expected = (exact or sorted(prefixes, key=lambda w: -len(normalised(w[1:]))) or ["default"])[0]
    did = config.find(dialled)
    assert did is not None
    assert WRITTEN[int(did.file.stem)] == expected


@given(st.text("0123456789", min_size=1, max_size=20), st.lists(st.sampled_from("+() ./-"), max_size=10), st.data())
def test_separators_never_change_who_answers(
    config: Config, digits: str, marks: list[str], data: st.DataObject
) -> None:
    dressed = digits
    for mark in marks:
        at = data.draw(st.integers(0, len(dressed)))
        dressed = dressed[:at] + mark + dressed[at:]
    assert config.find(dressed) is config.find(digits)
