"""``make demo`` as a newcomer gets it, with a caller who says less: the server, the wire and the engines are real."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import pytest

from esl_agent.config import load
from esl_agent.demo import show
from esl_agent.demo.voice import listen
from esl_agent.errors import ConfigError, EslAgentError
from esl_agent.testing.caller import BargeIn, Over, Say

CONF = Path(__file__).parents[2] / "conf"
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """(exit status, what was printed, where the files are) of one short call."""
    directory = tmp_path_factory.mktemp("demo")
    to = io.StringIO()
    script = (
        Say("something-terribly-wrong"),
        Over("cough", after=1.0, gain=0.0),
        Say("tt-weasels"),
        BargeIn("vm-goodbye", after=1.5),
    )
    return show.run(CONF, directory, to, script, answers=3), to.getvalue(), directory


def test_the_demo_calls_the_agent_and_finds_all_it_promises(made: tuple[int, str, Path]) -> None:
    status, printed, directory = made
    assert status == 0, printed
    assert {path.name for path in directory.iterdir()} == set(show.FILES) - {"briefing.wav"}


def test_the_recording_has_the_caller_left_and_the_agent_right(made: tuple[int, str, Path]) -> None:
    path = made[2] / "call.wav"
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
    recording = listen(path)
    assert recording.agent.first_heard(0.0) == pytest.approx(0.0, abs=0.3)
    assert recording.caller.seconds > 2.0
    assert recording.agent.seconds > 5.0
    assert max(recording.caller.peak, recording.agent.peak) < 32700
    assert abs(recording.caller.loudness - recording.agent.loudness) < 6.0


def test_the_agent_falls_silent_when_the_caller_talks_over_it(made: tuple[int, str, Path]) -> None:
    recording = listen(made[2] / "call.wav")
    notes = json.loads((made[2] / "record.json").read_text())["notes"]
    stopped = [note["at"] for note in notes if note["what"] == "stop_playback"][-1]
    assert recording.agent.levels[int((stopped - 0.5) * 100) : int(stopped * 100)].max() > 200
    assert recording.agent.silent_from(stopped) < stopped + 0.3


def test_a_cough_is_told_and_nothing_of_what_the_agent_was_saying_is_lost(made: tuple[int, str, Path]) -> None:
    printed = made[1]
    assert "** [cough, synthetic] of the caller over the agent: it pauses" in printed
    assert "Oh dear, I am sorry to hear that." in printed
    notes = json.loads((made[2] / "record.json").read_text())["notes"]
    [turn] = [note for note in notes if note["what"] == "turn" and "Oh dear" in note["agent"]]
    assert turn["agent"].endswith("we will put it right together.")
    assert turn["false_interruptions"] == 1


def test_what_is_printed_is_what_was_understood(made: tuple[int, str, Path]) -> None:
    _, printed, directory = made
    notes = json.loads((directory / "record.json").read_text())["notes"]
    understood = [note["text"] for note in notes if note["what"] == "caller"]
    assert understood[-1] == "goodbye"
    for text in filter(None, understood):
        assert f"caller    {text}" in printed
    transcript = (directory / "transcript.txt").read_text()
    assert "Weasels have eaten our phone system" in transcript
    assert f"understood  {understood[0]}" in transcript


def test_the_picture_is_a_picture(made: tuple[int, str, Path]) -> None:
    assert (made[2] / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_runs_beside_an_agent_at_work(tmp_path: Path) -> None:
    config = load(CONF, environment={})
    service = show.config_for(config, tmp_path).service
    addresses = {service.freeswitch.listen, service.audio.listen}
    assert len(addresses) == 2
    assert not addresses & {config.service.freeswitch.listen, config.service.audio.listen}


OWN = """
did: 6000
name: Harbour Bakery
phrases: {greeting: "Harbour Bakery, good day."}
llm: {engine: rules, rules: [{when: ["opening hours"], say: "Monday to Saturday."}]}
tts: {engine: piper, url: "http://127.0.0.1:9"}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A configuration with one number of its own, whose voice nobody can reach."""
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").touch()
    (tmp_path / "dids" / "bakery.yaml").write_text(OWN)
    return tmp_path


def test_a_voice_that_cannot_be_reached_is_told_before_the_call(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_QUIET_SECONDS", 0.3)
    to = io.StringIO()
    with pytest.raises(EslAgentError, match=r"no call is made, for the agent has no voice: tts: .*(piper|refused)"):
        show.run(own, own / "out", to, (Say("tt-weasels"),), number="6000")
    assert "Harbour Bakery: waiting for the voice (piper), 30 s at most: " in to.getvalue()


def test_a_demo_of_a_number_that_nobody_answers_says_which_are_answered(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody answers 5000; call one that is answered with --did: 6000"):
        show.run(own, own / "out", io.StringIO())
