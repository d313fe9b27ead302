"""What is written down about a call, and what is not shown."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from esl_agent.disk import aside
from esl_agent.journal import MAX_TEXT, Journal, Note, Private, one_line
from esl_agent.reception import _write_json

SAID = "my card number is 4111 1111 1111 1111"


@pytest.fixture
def log(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "esl_agent.call")
    return caplog


def test_what_callers_say_and_their_numbers_are_not_shown(log):
    journal = Journal("one", 10.0)
    journal.note("caller", 12.5, utterance=1, text=Private(SAID))
    assert "4111" not in log.messages[0]
    assert "text=<8 words>" in log.messages[0]
    assert "4111" not in json.dumps(journal.record())


def test_an_operator_who_asks_for_it_sees_what_was_said(log):
    journal = Journal("one", 10.0, show_private=True)
    journal.note("caller", 12.5, text=Private(SAID))
    assert SAID in log.messages[0]
    assert SAID in json.dumps(journal.record())


def test_who_watches_in_the_process_sees_the_facts_as_they_are():
    seen = []
    Journal("one", 10.0, watch=lambda call, note: seen.append((call, note))).note("caller", 11.0, text=Private(SAID))
    assert seen == [("one", Note(1.0, "caller", {"text": Private(SAID)}))]


def test_every_line_names_its_call_and_when_in_it(log):
    journal = Journal("56cd32a6", 100.0)
    journal.note("answered", 100.1234)
    journal.note("turn", 103.0, latency=0.87654321)
    assert log.messages == ["call=56cd32a6 t=0.123 answered ", "call=56cd32a6 t=3.000 turn latency=0.877"]


HOSTILE = ["a\ncall=other t=0 hung_up", "a\r\x1b[31mb", "a\u2028b", "\x00", "\x85", "x" * 10000, "a\ud800b"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("show", [True, False])
def test_outside_text_never_begins_a_line_of_its_own(log, text, show):
    journal = Journal(text, 0.0, show_private=show)
    journal.note("call", 1.0, name=Private(text), error=text)
    (line,) = log.messages
    assert line.splitlines() == [line]
    assert "\x1b" not in line
    assert len(line) < 4 * MAX_TEXT


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("show", [True, False])
def test_a_record_can_be_written_whatever_was_said(text, show):
    journal = Journal(text, 0.0, show_private=show)
    journal.note("call", 1.0, name=Private(text), error=text)
    json.dumps(journal.record(), ensure_ascii=False).encode("utf-8")


def test_a_fact_never_hides_what_happened_or_when():
    journal = Journal("one", 0.0)
    journal.note("command_failed", 1.0, what="answer", at=5, reply="-ERR no")
    assert journal.record()["notes"] == [{"at": 1.0, "what": "command_failed", "reply": "-ERR no"}]


def test_a_record_can_be_kept_as_json():
    journal = Journal("one", 0.0)
    journal.note("turn", 1.0, turn=1, interrupted=False, latency=0.5, agent=Private("hello"), nothing=None)
    assert json.loads(json.dumps(journal.record())) == journal.record()


def test_a_record_has_the_words_themselves_and_a_log_line_has_them_in_quotes(log):
    journal = Journal("one", 0.0, show_private=True)
    journal.note("clause", 1.0, text=Private("What can I do for you?"))
    journal.note("caller", 1.0, text=Private("It's \\ mine"))
    journal.note("caller", 1.0, text=Private("It's mine"))
    assert [note["text"] for note in journal.record()["notes"]] == [
        "What can I do for you?",
        "It's \\ mine",
        "It's mine",
    ]
    assert log.messages[-1].endswith('caller text="It\'s mine"')


def test_money_is_not_rounded_like_times():
    journal = Journal("one", 0.0)
    journal.note("budget", 1.0, amount=0.0005, spent=0.00136, latency=0.00136)
    assert journal.record()["notes"][0] == {
        "at": 1.0,
        "what": "budget",
        "amount": 0.0005,
        "spent": 0.00136,
        "latency": 0.001,
    }


def test_one_line_keeps_ordinary_words():
    assert one_line("Grüße, 你好 – ok") == "Grüße, 你好 – ok"


def test_half_a_character_of_a_model_loses_no_record(tmp_path):
    path = tmp_path / "records" / "one.json"
    _write_json(path, {"arguments": {"to": "desk \ud83d"}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"arguments": {"to": "desk ?"}}


def test_a_full_disk_costs_a_record_and_leaves_no_half_of_it_nor_a_traceback(tmp_path, monkeypatch, capfd):
    def full(path: Path, *_: object, **__: object) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        aside(_write_json, tmp_path / "records" / "one.json", {})
    assert list((tmp_path / "records").iterdir()) == []
    assert capfd.readouterr().err == ""
