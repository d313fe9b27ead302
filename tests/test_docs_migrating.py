"""docs/migrating.md: every example loads with engines that can be made, and every older name is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esl_agent import config
from esl_agent.config.older_names import NEEDLESS, NOT_USED_YET, OF_ASTERISK, OF_PYTHON, USED
from esl_agent.doubts import doubts
from esl_agent.lineup import make_lineup
from tests.test_docs_providers import KEY, blocks, key_variables

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMES_TABLE = TEXT.partition("\n## Names\n")[2].partition("\n## ")[0]
#: An older program's settings, as its documents have them.
OLDER = f'GPU_SERVER_URL = "https://gpu.example.net/transcribe"\nAPI_KEY = "{KEY}"\nWS_PORT = 8765\n'


@pytest.mark.parametrize("text", [pytest.param(text, id=where) for where, text in blocks(TEXT)])
def test_an_example_answers_calls_as_it_stands(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = re.match(r"# conf/(agent|dids/\w+)\.yaml\n", text)
    assert file, "an example begins with the name of its file"
    for variable in key_variables(text):
        monkeypatch.setenv(variable, KEY)
    (tmp_path / "dids").mkdir()
    (tmp_path / "config.py").write_text(OLDER, encoding="utf-8")
    (tmp_path / "agent.yaml").write_text("", encoding="utf-8")
    (tmp_path / "dids" / "default.yaml").write_text("default: true\n", encoding="utf-8")
    path = tmp_path / ("agent.yaml" if file[1] == "agent" else "dids/default.yaml")
    path.write_text(text, encoding="utf-8")
    loaded = config.load(tmp_path, environment={})
    assert len(make_lineup(loaded).engines) == 1
    assert file[1] == "agent" or not list(doubts(loaded))


def test_every_older_name_is_in_the_table_and_those_without_effect_are_marked() -> None:
    rows = [row.split("|") for row in NAMES_TABLE.splitlines() if row.startswith("| `")]
    told = {name: row[2].strip() for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row[1])}
    assert set(told) == {*USED, *NOT_USED_YET, *NEEDLESS, *OF_PYTHON, *OF_ASTERISK}
    for name, meaning in told.items():
        assert meaning.startswith("nothing yet") == (name in NOT_USED_YET), name
        if name in NOT_USED_YET:
            assert meaning == f"nothing yet: {NOT_USED_YET[name]}"


@pytest.mark.parametrize(
    "function",
    [
        "wav2call", "break_tts", "fs_uuid_broadcast", "fs_uuid_break", "speech2text", "send_to_chatbot", "text2speech",
        "StreamingWhisperASR", "handle_connection", "process_chunk",
    ],
)  # fmt: skip
def test_what_other_scripts_called_has_its_line(function: str) -> None:
    assert re.search(rf"^\| `{function}\b", TEXT, re.MULTILINE)
