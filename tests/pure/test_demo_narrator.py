"""What the demo prints of a call, in the order in which an operator can follow it."""

from __future__ import annotations

import io

from esl_agent.demo.narrator import Narrator
from esl_agent.journal import Note, Private
from esl_agent.testing.caller import Spoken

SPEAKS = [
    Note(1.0, "clause", {"turn": 1, "clip": 0, "text": Private("A long story.")}),
    Note(1.1, "began", {"turn": 1, "clip": 0}),
]
YIELDS = [Note(3.2, "stop_playback"), Note(3.2, "yield", {"turn": 1})]


def told(*notes: Note, said: str = "digits-oh") -> list[str]:
    to = io.StringIO()
    narrator = Narrator(to)
    narrator.spoken = [Spoken(said, 3.0, 3.5, "over")]
    for note in notes:
        narrator.watch("call", note)
    return [" ".join(line.split()) for line in to.getvalue().splitlines()]


def words(text: str, at: float = 3.9) -> Note:
    return Note(at, "caller", {"utterance": 1, "text": Private(text)})


def test_a_back_channel_is_one_line_with_the_pause_it_cost() -> None:
    goes_on = [Note(4.0, "resumed", {"turn": 1}), Note(4.1, "began", {"turn": 1, "clip": 0})]
    lines = told(*SPEAKS, *YIELDS, words("oh"), *goes_on)
    assert lines[1:] == ['0:04.1 ** the caller says "oh" over the agent: it pauses 0.9 s and goes on **']


def test_a_cough_is_not_passed_off_as_a_recording() -> None:
    goes_on = [Note(4.0, "resumed", {"turn": 1}), Note(4.1, "began", {"turn": 1, "clip": 0})]
    lines = told(*SPEAKS, *YIELDS, words(""), *goes_on, said="cough")
    assert lines[1:] == ["0:04.1 ** [cough, synthetic] of the caller over the agent: it pauses 0.9 s and goes on **"]


def test_an_agent_that_goes_on_with_another_clause_says_which() -> None:
    following = Note(3.0, "clause", {"turn": 1, "clip": 1, "text": Private("The end.")})
    goes_on = [Note(4.0, "resumed", {"turn": 1}), Note(4.1, "began", {"turn": 1, "clip": 1})]
    assert told(*SPEAKS, following, *YIELDS, words("oh"), *goes_on)[-1] == "0:04.1 agent The end."


def test_an_agent_that_never_stopped_is_said_to_speak_on() -> None:
    lines = told(*SPEAKS, Note(3.2, "yield", {"turn": 1}), words("oh"), Note(4.0, "resumed", {"turn": 1}))
    assert lines[1:] == ['0:04.0 ** the caller says "oh" over the agent, who speaks on **']


def test_a_barge_in_is_told_when_it_happened_then_what_was_heard_then_the_words() -> None:
    turn = {"turn": 1, "kind": "reply", "interrupted": True, "agent": Private("A long"), "barge_in": 0.12}
    lines = told(*SPEAKS, *YIELDS, Note(3.8, "turn", turn), Note(3.8, "confirmed", {"turn": 1}), words("stop", 4.6))
    assert lines[1:] == [
        "0:03.2 ** the caller talks over the agent, who stops **",
        '-- heard of this turn: "A long"; decided to stop 120 ms after the first voiced sound',
        "0:04.6 caller stop",
    ]


def test_words_that_decide_a_barge_in_are_told_once_and_after_it() -> None:
    lines = told(*SPEAKS, *YIELDS, words("stop"), Note(3.9, "confirmed", {"turn": 1}))
    assert lines[1:] == ["0:03.2 ** the caller talks over the agent, who stops **", "0:03.9 caller stop"]


def test_what_goes_wrong_is_a_sentence() -> None:
    failed = {"stage": "llm", "number": 3, "error": "llm: openai/x: no answer in time (given up)"}
    switched = {"stage": "tts", "before": "eleven", "after": "piper", "reason": "tts: refused"}
    lines = told(
        Note(21.6, "provider_failed", failed),
        Note(22.0, "switched", switched),
        Note(23.0, "media_lost", {"reason": "closed", "final": True}),
        Note(24.0, "command_failed", {"command": "answer", "reply": "-ERR no"}),
        Note(25.0, "lost", {"reason": "no hang-up event within 5 s"}),
    )
    assert lines == [
        "0:21.6 the model failed: openai/x: no answer in time (given up)",
        "0:22.0 the voice is now piper instead of eleven: refused",
        "0:23.0 the caller's sound is lost for good: closed",
        "0:24.0 FreeSWITCH did not answer: -ERR no",
        "0:25.0 the call is lost: no hang-up event within 5 s",
    ]
