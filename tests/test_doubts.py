"""What ``esl-agent check`` warns of: settings that are allowed, and with which callers would hear something odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from esl_agent.config import load
from esl_agent.doubts import doubts

CONF = Path(__file__).parent.parent / "conf"
RULES = "llm: {engine: rules, rules: [{when: [hi], say: hi}], otherwise: What}\n"
MODEL = "prompt: Be kind.\nstt: vosk\nllm: {engine: openai}\n"
Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What is doubted of a DID with these settings."""

    def found(did: str, agent: str = "") -> list[str]:
        (tmp_path / "dids").mkdir(exist_ok=True)
        (tmp_path / "agent.yaml").write_text(agent, encoding="utf-8")
        (tmp_path / "dids/a.yaml").write_text(f"default: true\n{did}", encoding="utf-8")
        return [line.removeprefix(f"{tmp_path}/dids/") for line in doubts(load(tmp_path, environment={}))]

    return found


def test_nothing_is_doubted_of_what_is_shipped() -> None:
    assert list(doubts(load(CONF, environment={}))) == []


@pytest.mark.parametrize("path", sorted((CONF / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_nothing_is_doubted_of_an_example(path: Path, tmp_path: Path) -> None:
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text("", encoding="utf-8")
    (tmp_path / "dids" / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert list(doubts(load(tmp_path, environment={"VOICE_ID": "JBFqnCBsd6RMkjVDRZzb"}))) == []


def test_phrases_that_a_caller_of_another_language_would_hear_in_english_are_named(told: Told) -> None:
    assert told(f"language: en-GB\n{RULES}") == []
    [line] = told(f"language: tr\nphrases: {{greeting: Merhaba, filler: [], apology: Pardon}}\n{RULES}")
    assert line.startswith("a.yaml: the language is tr, and these are as they are in English: phrases.not_understood, ")
    assert "phrases.failure" in line
    assert not {"phrases.greeting", "phrases.filler", "phrases.apology", "phrases.budget"} & set(line.split(", "))
    [line] = told(f"{RULES}languages: {{de: {{phrases: {{greeting: Hallo}}}}}}\n")
    assert line.startswith("a.yaml: languages.de: the language is de")


def test_a_model_behind_the_embedded_recogniser_needs_what_callers_are_expected_to_say(told: Told) -> None:
    [line] = told("prompt: x\nllm: openai\n")
    assert line.startswith("a.yaml:1: stt: engine embedded takes dictation badly")
    assert told("prompt: x\nllm: openai\nexpect: [one, two]\n") == []
    assert told("prompt: x\nllm: openai\nstt: vosk\n") == []
    [line] = told("prompt: x\nllm: openai\nstt:\n- vosk\n- embedded\n")
    assert line.startswith("a.yaml:6: stt[1]")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("llm: rules\n", "a.yaml:2: llm: engine rules has no rules"),
        (f"prompt: x\n{RULES}", "a.yaml: prompt has no effect: the llm engine rules does not read it"),
        ("stt: vosk\nllm: openai\n", "a.yaml:3: llm: engine openai has no prompt"),
        (
            "stt: vosk\nllm: {engine: chatbot, ws_url: 'ws://x', api_url: 'http://x'}\n",
            "a.yaml:3: llm: engine chatbot: its timeout (30) does not fit in limits.llm (8)",
        ),
        (
            f"{MODEL}resilience: {{llm: {{hedge: 9}}}}\n",
            "a.yaml: resilience.llm.hedge (9) is not within limits.llm (8)",
        ),
        (
            "prompt: x\nstt: vosk\nllm: [openai, rules]\nresilience: {llm: {first: 8}}\n",
            "a.yaml: resilience.llm.first (8) leaves nothing of limits.llm (8)",
        ),
        (
            f"{RULES}history: {{summarise_after: 3000}}\n",
            "a.yaml: history.summarise_after: rules would take the request for the caller's words",
        ),
        (f"{RULES}tts: [embedded, embedded]\n", "a.yaml:3: tts[1]: engine embedded is the same as tts[0]"),
        (
            f"{RULES}tts: {{engine: elevenlabs, voice: your-voice-id}}\n",
            "a.yaml:3: tts: engine elevenlabs: voice is still an example's",
        ),
    ],
)
def test_what_is_seldom_meant_is_told_with_its_place(told: Told, settings: str, sentence: str) -> None:
    [line] = told(settings)
    assert line.startswith(sentence)


def test_an_engine_whose_time_fits_is_not_doubted(told: Told) -> None:
    chatbot = "stt: vosk\nllm: {engine: chatbot, ws_url: 'ws://x', api_url: 'http://x'}\nlimits: {llm: 30}\n"
    assert told(chatbot) == []
    assert told(f"{MODEL}resilience: {{llm: {{first: 20}}}}\n") == []


def test_an_engine_with_another_behind_it_has_less_time(told: Told) -> None:
    chatbot = "{engine: chatbot, ws_url: 'ws://x', api_url: 'http://x', timeout: 8}"
    [line] = told(f"prompt: x\nstt: vosk\nllm: [{chatbot}, openai]\n")
    assert line.startswith(
        "a.yaml:4: llm[0]: engine chatbot: its timeout (8) does not fit in resilience.llm.first (2.5)"
    )
    assert told(f"prompt: x\nstt: vosk\nllm: [openai, {chatbot}]\n") == []


def test_what_is_said_beside_the_phrases_is_looked_at_too(told: Told) -> None:
    [line] = told(
        "language: de\ndestinations: {a: {mode: warm, dial: user/1}, b: {number: '1'}}\nlast_resort: {transfer: b}\n"
        "llm: {engine: rules, rules: [{when: [x], say: y, tool: transfer, arguments: {to: a}}]}\n"
    )
    beside = "last_resort.say, destinations.a.briefing, llm.otherwise, llm.rules[0].after_tool.failed"
    assert line.endswith(f"phrases.filler, {beside}")


def test_a_price_in_what_an_engine_is_not_counted_in_is_told(told: Told) -> None:
    did = "prompt: x\nstt: deepgram\nllm: openai\n"
    [line] = told(did, "prices: {deepgram: {characters: 1}}\n")
    assert line == "agent.yaml: prices.deepgram: characters: no effect on the stt engine deepgram"
    assert (
        told(did, "prices: {deepgram: {minute: 1, characters: 1}, openai/gpt-x: {input: 1}, piper: {minute: 1}}\n")
        == []
    )
    assert told(f"{did}tts: deepgram\n", "prices: {deepgram: {characters: 1}}\n") == []


def test_a_dial_string_that_asterisk_cannot_call_is_told_where_asterisk_calls_come_in(told: Told) -> None:
    desk = f"{RULES}destinations: {{desk: {{mode: warm, dial: %s}}}}\n"
    asterisk = "asterisk: {enabled: true}\n"
    assert told(desk % "user/1002") == []
    assert told(desk % "PJSIP/1002", asterisk) == []
    [line] = told(desk % "user/1002", asterisk)
    assert line.startswith("a.yaml: destinations.desk.dial: user/1002 is FreeSWITCH's")
