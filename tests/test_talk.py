"""A conversation in the terminal goes as it would on the telephone."""

from __future__ import annotations

import dataclasses
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import gevent
import pytest

from esl_agent import talk
from esl_agent.config import Config, DidConfig, load
from esl_agent.costs import Budget
from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.prices import Price, Tariff
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import HangUpPart, Identity, ReplyPart, TextPart, Usage, UsagePart
from esl_agent.providers.resilient import ResilientModel
from esl_agent.testing.providers import CannedLlm, Trouble

CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture(scope="module")
def config() -> Config:
    return load(CONF, environment={})


@pytest.fixture
def demo(config: Config) -> DidConfig:
    did = config.find("5000")
    assert did is not None
    return did


class Model:
    """Answers with what a test gives it, in order: pieces of text, a hang-up, an error, or silence for ever."""

    def __init__(self, *replies: Sequence[str | ReplyPart | Exception | None]) -> None:
        self.replies = list(replies)
        self.asked: list[Sequence[Message]] = []

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        self.asked.append(messages)
        for part in self.replies.pop(0):
            if isinstance(part, Exception):
                raise part
            if part is None:
                gevent.get_hub().switch()
            else:
                yield TextPart(part) if isinstance(part, str) else part


def conversation(did: DidConfig, model: Model, lines: Iterable[str]) -> list[str]:
    out = io.StringIO()
    talk.converse(did, model, lines, out)
    return out.getvalue().splitlines()


def said(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("agent:", "caller:"))]


def test_the_demo_number_greets_answers_and_hangs_up_after_the_goodbye(config: Config) -> None:
    out = io.StringIO()
    talk.run(config, "5000", ["opening hours\n", "goodbye\n", "never said\n"], out)
    lines = out.getvalue().splitlines()
    assert said(lines) == [
        "agent: Harbour Telephone, service desk, good day. What can I do for you?",
        "caller: opening hours",
        "agent: The service desk is open from eight to six, Monday to Friday, and from nine to one on Saturday.",
        "caller: goodbye",
        "agent: Thank you for calling Harbour Telephone. The engineer will be with you tomorrow at nine. Goodbye.",
    ]
    assert lines[-1] == "-- the agent hangs up (NORMAL_CLEARING)"


def test_a_number_that_nobody_answers_is_told_with_those_that_are(config: Config) -> None:
    alone = dataclasses.replace(config, _default=None)
    with pytest.raises(ConfigError, match=r"nobody answers '4444'.*5000"):
        talk.run(alone, "4444", [], io.StringIO())


@pytest.mark.parametrize("lines", [[], ["quit\n"], ["QUIT"], ["  quit  \n"]])
def test_quit_and_the_end_of_input_hang_up(demo: DidConfig, lines: list[str]) -> None:
    model = Model()
    assert conversation(demo, model, lines)[-1] == "-- the caller hangs up"
    assert model.asked == []


def test_the_model_hears_everything_that_was_said(demo: DidConfig) -> None:
    model = Model(["First. ", "Second."], ["Third."])
    conversation(demo, model, ["one\n", "two\n"])
    assert [(message.role, message.content) for message in model.asked[1]] == [
        ("assistant", demo.cascade.phrases.greeting),
        ("user", "one"),
        ("assistant", "First. Second."),
        ("user", "two"),
    ]


def test_the_time_the_model_took_is_shown_for_its_turns_only(demo: DidConfig) -> None:
    lines = conversation(demo, Model(["Yes."]), ["one\n"])
    timed = [
        at for at, line in enumerate(lines) if re.match(r"-- model: first words after [0-9.]+ s, all after ", line)
    ]
    assert [lines[at - 1] for at in timed] == ["agent: Yes."]


def test_empty_lines_are_silences_and_end_in_the_goodbye(demo: DidConfig) -> None:
    model = Model()
    lines = conversation(demo, model, [""] * 10)
    phrases = demo.cascade.phrases
    assert said(lines) == [f"agent: {text}" for text in (phrases.greeting, *phrases.still_there, phrases.goodbye)]
    assert "-- 8 s of silence" in lines
    assert lines[-1] == "-- the agent hangs up (NORMAL_CLEARING)"


def test_a_caller_who_speaks_again_is_asked_again_from_the_first(demo: DidConfig) -> None:
    lines = conversation(demo, Model(["Yes."]), ["", "one", "", "quit"])
    assert said(lines).count(f"agent: {demo.cascade.phrases.still_there[0]}") == 2


def test_a_line_without_words_is_a_noise_and_the_agent_asks_again(demo: DidConfig) -> None:
    model = Model()
    assert f"agent: {demo.cascade.phrases.not_understood}" in conversation(demo, model, ["???\n"])
    assert model.asked == []


def test_a_model_that_fails_is_named_and_the_caller_hears_the_apology(demo: DidConfig) -> None:
    broken = [ProviderError("llm", "402 no credit left")]
    lines = conversation(demo, Model(broken, ["Yes."]), ["one\n"])
    assert "-- llm failed: llm: 402 no credit left" in lines
    at = lines.index(f"agent: {demo.cascade.phrases.apology}")
    assert "agent: Yes." in lines[at:]


def test_a_model_that_always_fails_ends_the_call_with_the_last_words(demo: DidConfig) -> None:
    broken = [ProviderError("llm", "down")]
    lines = conversation(demo, Model(*[broken] * 20), ["one\n"] * 20)
    assert lines[-2:] == [f"agent: {demo.cascade.phrases.failure}", "-- the agent hangs up (NORMAL_CLEARING)"]


def test_a_model_that_never_answers_is_given_up_at_its_deadline(demo: DidConfig) -> None:
    impatient = dataclasses.replace(demo.cascade, limits=dataclasses.replace(demo.cascade.limits, llm=0.02, retries=0))
    lines = conversation(dataclasses.replace(demo, cascade=impatient), Model([None], ["Yes."]), ["one\n"])
    at = lines.index(f"agent: {demo.cascade.phrases.apology}")
    assert "agent: Yes." in lines[at:]


def test_a_model_that_hangs_up_without_a_word_says_goodbye_first(demo: DidConfig) -> None:
    lines = conversation(demo, Model([HangUpPart()]), ["one\n", "two\n"])
    assert f"agent: {demo.cascade.phrases.goodbye}" in lines
    assert lines[-1] == "-- the agent hangs up (NORMAL_CLEARING)"


def test_an_agent_without_a_greeting_waits_for_the_caller(demo: DidConfig) -> None:
    quiet = dataclasses.replace(demo.cascade, phrases=dataclasses.replace(demo.cascade.phrases, greeting=""))
    lines = conversation(dataclasses.replace(demo, cascade=quiet), Model(["Yes."]), ["one\n"])
    assert said(lines)[:2] == ["caller: one", "agent: Yes."]


def test_a_slow_typist_is_not_asked_whether_they_are_still_there(demo: DidConfig) -> None:
    now = 1000.0

    def typed() -> Iterator[str]:
        nonlocal now
        now += 3600.0
        yield "one\n"

    out = io.StringIO()
    talk.converse(demo, Model(["Yes."]), typed(), out, lambda: now)
    assert said(out.getvalue().splitlines())[1:] == ["caller: one", "agent: Yes."]


def test_what_a_model_writes_cannot_steer_the_terminal(demo: DidConfig) -> None:
    lines = conversation(demo, Model(["\x1b[2J\u202eHello.\x07"]), ["\x1b[31mone\n"])
    assert "\x1b" not in "".join(lines)
    assert "\u202e" not in "".join(lines)
    assert any(line.startswith("agent:") and "Hello." in line for line in lines)


def test_a_terminal_is_asked_for_the_line_and_does_not_see_it_twice(demo: DidConfig) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    talk.converse(demo, Model(["Yes."]), ["weasels\n"], out)
    assert out.getvalue().count("caller: ") == 2
    assert "weasels" not in out.getvalue()


SWITCHBOARD = """
default: true
phrases: {greeting: Hello., filler: []}
destinations: {sales: {mode: warm, dial: user/1010}}
tools: {builtin: [transfer, collect_digits, hold], http: {order: {description: x, url: "http://127.0.0.1:1/x"}}}
llm:
  engine: rules
  rules:
    - {when: [sales please], say: One moment., tool: transfer, arguments: {to: sales}}
    - {when: [my number], say: Go ahead., tool: collect_digits, after_tool: {ok: "So {result}."}}
    - {when: [my order], say: I look., tool: order, after_tool: {failed: I can not tell.}}
    - {when: [one moment], say: Take your time., tool: hold, arguments: {seconds: 30}}
    - {when: ["(pressed 9)"], say: Nine it is.}
"""


@pytest.fixture
def switchboard(tmp_path: Path) -> Config:
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("{}")
    (tmp_path / "dids" / "default.yaml").write_text(SWITCHBOARD)
    return load(tmp_path, environment={})


def talked(config: Config, *typed: str) -> list[str]:
    out = io.StringIO()
    talk.run(config, "1", typed, out)
    return [line for line in out.getvalue().splitlines() if not line.startswith("-- model")][1:]


def test_what_tools_would_do_is_told(switchboard: Config) -> None:
    assert talked(switchboard, "my order", "sales please", "never said") == [
        "agent: Hello.",
        "caller: my order",
        "-- order() would ask its server",
        "agent: I look. I can not tell.",
        "caller: sales please",
        "agent: One moment.",
        "-- the call is handed over to sales: warm, {leg_timeout=25}user/1010",
    ]


def test_keys_are_typed_as_they_are(switchboard: Config) -> None:
    assert talked(switchboard, "my number", "1234#", "9") == [
        "agent: Hello.",
        "caller: my number",
        "agent: Go ahead.",
        "caller: 1234#",
        "agent: So the caller pressed 1 2 3 4.",
        "caller: 9",
        "agent: Nine it is.",
        "-- the caller hangs up",
    ]


def test_a_caller_who_asked_for_a_moment_may_be_silent_for_it(switchboard: Config) -> None:
    assert talked(switchboard, "one moment", "") == [
        "agent: Hello.",
        "caller: one moment",
        "agent: Take your time.",
        "-- 30 s of silence",
        "agent: Are you still there?",
        "-- the caller hangs up",
    ]


def test_call_data_in_greeting_and_prompt_is_filled_in_as_far_as_a_terminal_has_any(demo: DidConfig) -> None:
    phrases = dataclasses.replace(demo.cascade.phrases, greeting="Hello {{caller_name}}, this is {{did_name}}.")
    cascade = dataclasses.replace(demo.cascade, phrases=phrases, prompt="{{caller}} calls {{did}}.")
    model = Model(["Bye.", HangUpPart()])
    lines = conversation(dataclasses.replace(demo, cascade=cascade), model, ["hi\n"])
    assert said(lines)[0] == "agent: Hello, this is Harbour Telephone."
    assert model.asked[0][0] == Message("system", 'unknown calls "5000".')


def test_it_is_told_when_another_model_takes_over(demo: DidConfig) -> None:
    first, second = CannedLlm(["never"], trouble=Trouble(fail=2)), CannedLlm(["Hello from the second."])
    first.identity, second.identity = Identity("first"), Identity("second")
    model = ResilientModel([first, second], demo.settings.resilience, demo.cascade.limits, Accounts())
    out = io.StringIO()
    talk.converse(demo, model, ["hello", "quit"], out)
    assert "-- llm: second instead of first: llm: canned failure" in out.getvalue()
    assert "agent: Hello from the second." in out.getvalue()


def test_the_time_of_a_model_that_broke_off_is_that_of_its_last_request(demo: DidConfig) -> None:
    broken = ["We are open from nine to five. On Satur", ProviderError("llm", "gone", retryable=True)]
    now = iter(range(100000))
    out = io.StringIO()
    talk.converse(demo, Model(broken, ["On Saturday we close at noon."]), ["one\n"], out, lambda: next(now) / 1000)
    lines = out.getvalue().splitlines()
    assert "agent: We are open from nine to five. On Saturday we close at noon." in lines
    times = [line for line in lines if line.startswith("-- model:")]
    assert times
    assert not any("after -" in line for line in times)


def test_what_is_logged_while_the_agent_speaks_has_a_line_of_its_own(demo: DidConfig) -> None:
    def reply() -> Iterator[str]:
        yield "One is here. "
        gevent.sleep(0.01)
        logging.getLogger("esl_agent.x").warning("call=talk %s llm: \x1b[2Jslow", demo.name)
        yield "Two is here."

    lines = conversation(demo, Model(reply()), ["one\n"])  # type: ignore[arg-type]
    assert "-- llm:  [2Jslow" in lines
    assert "agent: One is here." in lines
    assert "agent: Two is here." in lines
    assert not [each for each in logging.getLogger().handlers if type(each).__module__ == talk.__name__]


TARIFF = Tariff({"canned": Price(output=1000.0)}, "EUR")


def paid(demo: DidConfig, budget: Budget, lines: Iterable[str]) -> list[str]:
    """A conversation with a model that answers for 0.005 EUR."""

    def parts() -> list[ReplyPart]:
        return [TextPart("Yes, of course."), UsagePart(Usage(input_tokens=1700, output_tokens=5))]

    canned = Model(*[parts() for _ in range(9)])
    canned.identity = Identity("canned/one")  # type: ignore[attr-defined]
    model = ResilientModel([canned], demo.settings.resilience, demo.cascade.limits, Accounts())  # type: ignore[list-item]
    did = dataclasses.replace(demo, settings=dataclasses.replace(demo.settings, budget=budget))
    out = io.StringIO()
    talk.converse(did, model, lines, out, tariff=TARIFF)
    return out.getvalue().splitlines()


def test_what_the_model_cost_is_told_at_the_end(demo: DidConfig) -> None:
    assert paid(demo, Budget(), ["one\n", "two\n", "quit\n"])[-2:] == [
        "-- canned/one: 2 requests, 3400 tokens in, 10 out: 0.01",
        "-- the model cost 0.01 EUR",
    ]


def test_a_conversation_past_its_budget_is_ended_as_a_call_would_be(demo: DidConfig) -> None:
    lines = paid(demo, Budget(call_limit=0.004), ["one\n", "two\n"])
    assert "agent: Yes, of course." in lines
    assert "-- budget: this call has cost 0.0050 of 0.004 EUR: it ends" in lines
    assert f"agent: {demo.cascade.phrases.too_long}" in lines
    assert "caller: two" not in lines
