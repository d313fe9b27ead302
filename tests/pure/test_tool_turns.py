"""The model calls tools in its turn, one situation at a time."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Message, ToolCall
from esl_agent.dialogue.destinations import DestinationSettings
from esl_agent.dialogue.digits import DtmfSettings
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.settings import CascadeSettings, EarlyReplySettings, FillerSettings, LimitSettings, Phrases
from esl_agent.dialogue.tool_settings import BUILTINS, HttpParameter, HttpToolSettings, ToolsSettings
from esl_agent.dialogue.tool_turns import MAX_CALLS
from esl_agent.dialogue.transcript import INTERRUPTED
from tests.pure.world import QUIET, VOICED, World

ORDERS = HttpToolSettings(
    "Where an order is.",
    "https://crm.example.com/{number}",
    parameters={"number": HttpParameter(pattern="[0-9]+")},
    say_meanwhile="I will look.",
)
TOOLS = ToolsSettings(builtin=BUILTINS, http={"order": ORDERS}, max_per_turn=3)


def asked(**settings) -> World:
    """The caller has said something, and the model is asked."""
    settings.setdefault("tools", TOOLS)
    it = World(CascadeSettings(phrases=Phrases(greeting="", filler=("Hm.",)), **settings))
    it.answer()
    it.caller_says("where is my order")
    assert it.all(act.AskModel)
    return it


def calls(it: World, tool: str, id: str = "1", say: str = "", **arguments) -> list[act.Action]:
    """The model says something and calls a tool, and that is all."""
    turn = it.last(act.AskModel).turn
    if say:
        it.post(ev.ReplyText(turn, say))
    out = it.post(ev.ToolCalled(turn, ToolCall(id, tool, arguments)))
    return out + it.post(ev.ReplyEnded(turn))


def returns(it: World, result: str, id: str = "1", failed: bool = False) -> list[act.Action]:
    return it.post(ev.ToolReturned(it.last(act.AskModel).turn, id, result, failed))


def says(it: World, text: str) -> None:
    turn = it.last(act.AskModel).turn
    it.post(ev.ReplyText(turn, text))
    it.post(ev.ReplyEnded(turn))


def spoken(it: World) -> list[str]:
    return [clause.text for clause in it.all(act.Synthesise)]


def test_a_tool_runs_while_the_words_before_it_are_spoken_and_its_answer_is_asked_with_in_the_same_turn():
    it = asked()
    calls(it, "order", say="One moment.", number="12")
    [run] = it.all(act.RunTool)
    assert (run.call.name, dict(run.call.arguments)) == ("order", {"number": "12"})
    it.voice_all()
    assert it.phase is Phase.SPEAKING
    [first] = it.all(act.AskModel)
    returns(it, "sent on Monday")
    second = it.last(act.AskModel)
    assert second.turn == first.turn
    assert second.messages == (
        Message("user", "where is my order"),
        Message("assistant", "One moment. I will look.", (ToolCall("1", "order", {"number": "12"}),)),
        Message("tool", "sent on Monday", tool_call_id="1"),
    )
    says(it, "It was sent on Monday.")
    it.hear_all()
    assert it.phase is Phase.LISTENING
    assert spoken(it) == ["One moment.", "I will look.", "It was sent on Monday."]
    assert [(m.role, m.content) for m in it.dialogue.transcript.messages()] == [
        ("user", "where is my order"),
        ("assistant", "One moment. I will look."),
        ("tool", "sent on Monday"),
        ("assistant", "It was sent on Monday."),
    ]


def test_the_model_is_told_what_it_may_call():
    it = asked()
    assert {"order", "hold", "set_variable"} <= {tool.name for tool in it.last(act.AskModel).tools}


def test_it_is_asked_again_when_every_tool_of_the_round_is_back():
    it = asked()
    turn = it.last(act.AskModel).turn
    for id in ("a", "b"):
        it.post(ev.ToolCalled(turn, ToolCall(id, "order", {"number": id and "1"})))
    it.post(ev.ReplyEnded(turn))
    returns(it, "one", id="b")
    assert len(it.all(act.AskModel)) == 1
    returns(it, "two", id="a")
    assert [(m.role, m.content) for m in it.last(act.AskModel).messages[-2:]] == [("tool", "two"), ("tool", "one")]


def test_a_tool_that_is_back_before_the_model_has_ended_is_asked_with_when_it_has():
    it = asked()
    turn = it.last(act.AskModel).turn
    it.post(ev.ToolCalled(turn, ToolCall("1", "order", {"number": "1"})))
    returns(it, "sent")
    assert len(it.all(act.AskModel)) == 1
    it.post(ev.ReplyEnded(turn))
    assert it.last(act.AskModel).messages[-1].content == "sent"


def test_what_cannot_be_done_is_told_to_the_model_and_not_done():
    it = asked()
    out = calls(it, "order", number="12; drop table")
    assert not it.all(act.RunTool)
    [ask] = [action for action in out if isinstance(action, act.AskModel)]
    assert ask.messages[-1].content.startswith("failed: number: expected text like")


def test_a_variable_is_set_and_keys_are_sent_at_once():
    it = asked()
    turn = it.last(act.AskModel).turn
    out = it.post(ev.ToolCalled(turn, ToolCall("1", "set_variable", {"name": "topic", "value": "repair"})))
    out += it.post(ev.ToolCalled(turn, ToolCall("2", "send_dtmf", {"digits": "1w2"})))
    assert act.SetVariable("agent_topic", "repair") in out
    assert act.SendDigits("1w2") in out
    it.post(ev.ReplyEnded(turn))
    assert [m.content for m in it.last(act.AskModel).messages[-2:]] == ["done", "done"]


def test_an_empty_answer_after_a_tool_is_no_failure():
    it = asked()
    calls(it, "set_variable", name="topic", value="repair")
    it.post(ev.ReplyEnded(it.last(act.AskModel).turn))
    assert it.phase is Phase.LISTENING
    assert not it.all(act.Synthesise)
    assert len(it.all(act.AskModel)) == 2


def test_the_model_may_not_call_tools_for_ever():
    it = asked()
    for round in range(10):
        before = len(it.all(act.AskModel))
        calls(it, "set_variable", id=str(round), name="n", value="v")
        if len(it.all(act.AskModel)) == before:
            break
    assert len(it.all(act.SetVariable)) == TOOLS.max_per_turn
    assert it.last(act.AskModel).tools == ()
    assert it.phase is Phase.LISTENING


def test_a_tool_that_is_not_back_in_time_has_failed():
    it = asked(limits=LimitSettings(tool=2.0), filler=FillerSettings(after=0.0))
    calls(it, "order", say="One moment.", number="1")
    it.hear_all()
    assert it.phase is Phase.SPEAKING
    it.tick()
    assert it.last(act.AskModel).messages[-1].content == "failed: no answer in time"
    asks = len(it.all(act.AskModel))
    returns(it, "late")
    assert len(it.all(act.AskModel)) == asks


def test_a_caller_who_waits_for_a_slow_tool_is_told_so_once():
    it = asked(filler=FillerSettings(after=1.0))
    calls(it, "order", say="One moment.", number="1")
    it.hear_all()
    quiet_since = it.now
    it.tick()
    assert it.now - quiet_since < 1.1
    assert spoken(it) == ["One moment.", "I will look.", "Hm."]
    it.hear_all()
    returns(it, "sent")
    says(it, "It was sent.")
    it.hear_all()
    assert spoken(it) == ["One moment.", "I will look.", "Hm.", "It was sent."]


def test_a_tool_of_a_turn_that_was_given_up_is_not_listened_to():
    it = asked()
    calls(it, "order", say="One moment.", number="1")
    it.voice_all()
    turn = it.last(act.AskModel).turn
    it.frames(VOICED, 1.0)
    assert turn in [given_up.turn for given_up in it.all(act.AbandonTurn)]
    it.post(ev.Played(turn, 0, 0.5))
    it.post(ev.ToolReturned(turn, "1", "sent"))
    assert len(it.all(act.AskModel)) == 1
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "never mind"))
    messages = it.last(act.AskModel).messages
    assert [m.content for m in messages if m.role == "tool"] == [INTERRUPTED]
    assert messages[-1] == Message("user", "never mind")


def test_a_cough_while_a_tool_runs_does_not_run_it_again():
    it = asked()
    calls(it, "order", number="1")
    it.frames(VOICED, 0.2)
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, ""))
    returns(it, "sent")
    says(it, "It was sent.")
    it.hear_all()
    assert len(it.all(act.RunTool)) == 1
    assert spoken(it)[-1] == "It was sent."


def test_a_model_that_fails_after_a_tool_is_asked_again_with_what_the_tool_answered():
    it = asked(limits=LimitSettings(retries=0))
    calls(it, "order", number="1")
    returns(it, "sent")
    it.post(ev.ProviderFailed("llm", it.last(act.AskModel).turn, "broken"))
    it.hear_all()  # the apology
    assert it.last(act.AskModel).messages[-1] == Message("tool", "sent", tool_call_id="1")
    assert len(it.all(act.AskModel)) == 3


def test_the_tool_hang_up_ends_the_call_when_the_goodbye_was_heard():
    it = asked()
    calls(it, "hang_up", say="Goodbye.")
    it.voice_all()
    assert not it.all(act.HangUp)
    it.hear_all()
    assert it.all(act.HangUp)
    assert len(it.all(act.AskModel)) == 1


def test_a_history_that_is_cut_never_begins_with_a_tools_answer():
    it = asked(limits=LimitSettings(history=2))
    calls(it, "order", number="1")
    returns(it, "sent")
    roles = [message.role for message in it.last(act.AskModel).messages]
    assert roles == ["user", "assistant", "tool"]


def test_a_turn_that_answers_no_words_of_the_caller_is_not_measured_from_their_end():
    it = asked(dtmf=DtmfSettings(timeout=2.0))
    says(it, "It was sent.")
    it.hear_all()
    assert "speech_ended" in it.last(act.Measured).steps
    it.post(ev.DigitPressed("1"))
    it.tick()
    says(it, "One.")
    it.hear_all()
    assert "speech_ended" not in it.last(act.Measured).steps


def guessing() -> World:
    """The model was asked early, and calls a tool."""
    it = World(CascadeSettings(phrases=Phrases(greeting=""), tools=TOOLS, early_reply=EarlyReplySettings(enabled=True)))
    it.answer()
    it.frames(VOICED, 0.6)
    it.post(ev.Transcribed(it.last(act.OpenUtterance).utterance, "where is my order", final=False))
    it.frames(QUIET, 0.3)
    calls(it, "order", say="One moment.", number="1")
    return it


def test_what_a_model_that_was_asked_early_wants_done_is_done_when_the_caller_has_ended():
    it = guessing()
    assert not it.all(act.RunTool)
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Where is my order?"))
    assert len(it.all(act.RunTool)) == 1
    returns(it, "sent")
    says(it, "It was sent.")
    it.hear_all()
    assert spoken(it) == ["One moment.", "I will look.", "It was sent."]


def test_what_a_model_wanted_done_for_words_that_were_not_all_is_never_done():
    it = guessing()
    it.frames(QUIET, 1.0)
    it.post(ev.Transcribed(it.last(act.CloseUtterance).utterance, "Where is my order from Monday?"))
    assert not it.all(act.RunTool)
    assert [message.role for message in it.last(act.AskModel).messages] == ["user"]


def test_a_tool_that_was_called_is_run_once_though_the_model_fails_behind_the_call():
    it = asked()
    turn = it.last(act.AskModel).turn
    it.post(ev.ToolCalled(turn, ToolCall("1", "order", {"number": "12"})))
    it.post(ev.ProviderFailed("llm", turn, "cut off", retryable=True))
    returns(it, "it was sent")
    ask = it.last(act.AskModel)
    assert (ask.turn, ask.messages[-1].content) == (turn, "it was sent")
    says(it, "It was sent.")
    it.hear_all()
    assert len(it.all(act.RunTool)) == 1
    assert spoken(it) == ["I will look.", "It was sent."]


def test_a_caller_is_put_through_though_the_model_fails_behind_the_call():
    it = asked(destinations={"desk": DestinationSettings(number="1000")})
    turn = it.last(act.AskModel).turn
    it.post(ev.ToolCalled(turn, ToolCall("1", "transfer", {"to": "desk"})))
    it.post(ev.ProviderFailed("llm", turn, "cut off", retryable=False))
    assert it.all(act.Transfer)


def test_a_model_that_calls_tools_in_a_loop_does_not_fill_the_history():
    it = asked()
    turn = it.last(act.AskModel).turn
    for number in range(2 * MAX_CALLS):
        it.post(ev.ToolCalled(turn, ToolCall(str(number), "order", {"number": "12"})))
    assert len(it.all(act.RunTool)) == 3
    assert len(it.dialogue.transcript.messages()) <= 2 * MAX_CALLS
