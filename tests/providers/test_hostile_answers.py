"""Whatever a service answers, at whatever place of its answer: a ``ProviderError`` or sense, and nothing else."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from esl_agent.dialogue.actions import Message, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers import (
    llm_chatbot,
    sockets,
    stt_deepgram,
    stt_deepgram_flux,
    stt_vosk,
    stt_whisper_live,
    tts_cartesia,
    tts_elevenlabs_ws,
)
from esl_agent.providers.base import EngineContext, TextPart, ToolCallPart, UsagePart
from esl_agent.providers.deepgram_words import MAX_STRETCHES, Words
from esl_agent.providers.llm_anthropic import AnthropicModel, AnthropicOptions
from esl_agent.providers.llm_llama3_api import Llama3Api, Llama3ApiOptions
from esl_agent.providers.llm_ollama import OllamaModel, OllamaOptions
from esl_agent.providers.llm_openai import OpenAiModel, OpenAiModelOptions
from esl_agent.providers.llm_rasa import Rasa, RasaOptions
from esl_agent.providers.stt_openai import OpenAiRecogniser, OpenAiRecogniserOptions
from esl_agent.providers.stt_transcribe import Transcribe, TranscribeOptions
from esl_agent.providers.stt_whisper_cpp import WhisperCpp, WhisperCppOptions

HERE = EngineContext("de-AT", ("ja", "nein"))
SAMPLES = base64.b64encode(b"\x01\x02" * 50 + b"\x03").decode()
#: Stand in JSON for what ``json.dumps`` would not write.
DEEP = {
    "@lists": "[" * 950 + "]" * 950,
    "@objects": '{"text":' * 450 + '"x"' + "}" * 450,
    "@parts": '[{"type":"text","text":' * 400 + '"x"' + "}]" * 400,
    "@too deep": "[" * 100000,
    "@long number": "1" + "0" * 400,
    "@endless number": "1" * 5000,
}
POISON = (None, True, -1, 1e6, float("nan"), "", "x\x00\r\n\ud800", [], [None, [1]], {}, {"a": 1}, *DEEP)


def poisoned(messages: list[Any]) -> Iterator[list[str]]:
    """The messages as JSON, each time with another wrong value at another place."""
    for place in _places(messages):
        for wrong in POISON if place else ():
            changed = copy.deepcopy(messages)
            at: Any = changed
            for step in place[:-1]:
                at = at[step]
            at[place[-1]] = wrong
            yield [_json(each) for each in changed]


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield from _places(each, (*place, step))


def _json(value: Any) -> str:
    text = json.dumps(value)
    for name, meant in DEEP.items():
        text = text.replace(json.dumps(name), meant)
    return text


class _Answer:
    """What ``requests`` gives out, without a network."""

    def __init__(self, body: bytes, content_type: str, status: int) -> None:
        self.status_code = status
        self.headers = requests.structures.CaseInsensitiveDict({"Content-Type": content_type})
        self.raw = self
        self.connection = None
        self.length_remaining = 0
        self._body = [body]

    def read1(self, size: int = 0) -> bytes:
        return self._body.pop() if self._body else b""

    def close(self) -> None:
        pass


class _Socket(sockets.ProviderSocket):
    """Says what it is told to and closes politely."""

    is_open = True

    def __init__(self, messages: list[str]) -> None:
        self.stage, self.where, self.closed_with = "llm", "ws://pretend", None
        self._secrets = ()
        self._left = list(messages)

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            message.encode()

    def receive(self, patience: float | None = None) -> str | bytes | None:
        if self._left:
            return self._left.pop(0)
        self.closed_with = (1000, "")
        return None

    def close(self) -> None:
        pass

    close_soon = close


def answers(engine: Any) -> None:
    """A reply that can be used, and told the next time."""
    for part in engine.reply((Message("user", "hello"),), (ToolSpec("f", "d"),)):
        if isinstance(part, TextPart):
            assert isinstance(part.text, str)
            assert part.text
        if isinstance(part, ToolCallPart):
            call = part.call
            assert isinstance(call.id, str)
            assert isinstance(call.name, str)
            assert isinstance(call.arguments, dict)
            told = (Message("user", "x"), Message("assistant", "", (call,)), Message("tool", "", tool_call_id=call.id))
            for each in _models():
                json.dumps(each._body(told, ()))
        if isinstance(part, UsagePart):
            assert min(part.usage.input_tokens, part.usage.cached_tokens, part.usage.output_tokens) >= 0


def speaks(engine: Any) -> None:
    for piece in engine.speak("Hello world."):
        assert piece
        assert len(piece) % 2 == 0


def hears(engine: Any) -> None:
    found = list(engine.recognise(iter([b"\x01\x02" * 1600]), 8000))
    assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
    assert all(each.confidence is None or 0.0 <= each.confidence <= 1.0 for each in found)


def _models() -> tuple[Any, ...]:
    return (
        OpenAiModel(OpenAiModelOptions(api_key_env=""), HERE),
        AnthropicModel(AnthropicOptions(), HERE),
        OllamaModel(OllamaOptions(model="m"), HERE),
    )


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "DEEPGRAM_API_KEY", "CARTESIA_API_KEY", "ELEVENLABS_API_KEY"):
        monkeypatch.setenv(name, "key-0123456789")
    monkeypatch.setattr(sockets.SpareSockets, "warm", lambda self: None)


def _events(texts: list[str]) -> bytes:
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def _lines(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def _first(texts: list[str]) -> bytes:
    return texts[0].encode()


EVENTS, LINES, JSON = "text/event-stream", "application/x-ndjson", "application/json"
CALL = {"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a":1}'}}
HTTP: dict[str, tuple[Callable[[], Any], Callable[[Any], None], Callable[[list[str]], bytes], str, int, list[Any]]] = {
    "chat completions": (lambda: _models()[0], answers, _events, EVENTS, 200, [
        {"choices": [{"delta": {"content": [{"type": "text", "text": "x"}], "tool_calls": [CALL]}}]},
        {"choices": [{"delta": {"tool_calls": [{**CALL, "function": {"arguments": {"a": 1}}}]}}]},
        {"choices": [{"delta": {"content": "y"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}},
    ]),
    "an error in the stream": (lambda: _models()[0], answers, _events, EVENTS, 200, [
        {"error": {"message": "m", "code": "c", "type": "t"}},
    ]),
    "a refusal": (lambda: _models()[0], answers, _first, JSON, 400, [{"error": {"message": "m", "code": "c"}}]),
    "messages": (lambda: _models()[1], answers, _events, EVENTS, 200, [
        {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
    ]),
    "ollama": (lambda: _models()[2], answers, _lines, LINES, 200, [
        {"message": {"content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}},
        {"message": {"content": ""}, "done": True, "eval_count": 4},
    ]),
    "llama3": (lambda: Llama3Api(Llama3ApiOptions(), HERE), answers, _first, JSON, 200, [{"response": "x"}]),
    "rasa": (lambda: Rasa(RasaOptions(), HERE), answers, _first, JSON, 200, [[{"text": "a"}, {"text": "b"}]]),
    "chatbot": (
        lambda: llm_chatbot.Chatbot(llm_chatbot.ChatbotOptions(api_url="http://x/"), HERE),
        answers, _first, JSON, 200, [{"messages": ["a", {"text": "b"}]}],
    ),
    "transcriptions": (
        lambda: OpenAiRecogniser(OpenAiRecogniserOptions(), HERE), hears, _first, JSON, 200,
        [{"text": "x", "logprobs": [{"logprob": -0.1}]}],
    ),
    "streamed transcriptions": (
        lambda: OpenAiRecogniser(OpenAiRecogniserOptions(), HERE), hears, _events, EVENTS, 200,
        [{"type": "transcript.text.delta", "delta": "x"}, {"type": "transcript.text.done", "text": "x"}],
    ),
    "transcribe": (
        lambda: Transcribe(TranscribeOptions(url="http://x"), HERE), hears, _first, JSON, 200, [{"transcript": "x"}],
    ),
    "another field": (
        lambda: Transcribe(TranscribeOptions(url="http://x"), HERE), hears, _first, JSON, 422,
        [{"detail": [{"loc": ["body", "audio"], "msg": "m"}]}],
    ),
    "whisper.cpp": (
        lambda: WhisperCpp(WhisperCppOptions(), HERE), hears, _first, JSON, 200, [{"text": "", "error": 1}],
    ),
}  # fmt: skip
SOCKETS: dict[str, tuple[Any, Callable[[], Any], Callable[[Any], None], list[Any]]] = {
    "chatbot": (
        llm_chatbot,
        lambda: llm_chatbot.Chatbot(llm_chatbot.ChatbotOptions(ws_url="ws://x", tries=1), HERE),
        answers,
        [{"type": "typing"}, {"type": "reply", "messages": ["a", {"text": "b"}]}],
    ),
    "cartesia": (
        tts_cartesia,
        lambda: tts_cartesia.CartesiaVoice(tts_cartesia.CartesiaVoiceOptions(voice="v"), HERE),
        speaks,
        [{"type": "chunk", "data": SAMPLES, "done": False}, {"type": "done", "done": True}],
    ),
    "cartesia's error": (
        tts_cartesia,
        lambda: tts_cartesia.CartesiaVoice(tts_cartesia.CartesiaVoiceOptions(voice="v"), HERE),
        speaks,
        [{"type": "error", "title": "t", "message": "m", "error_code": "c", "status_code": 400, "done": True}],
    ),
    "elevenlabs": (
        tts_elevenlabs_ws,
        lambda: tts_elevenlabs_ws.ElevenLabsSocketVoice(tts_elevenlabs_ws.ElevenLabsSocketOptions(voice="v"), HERE),
        speaks,
        [{"audio": SAMPLES, "isFinal": None}, {"message": "m", "error": "e"}, {"isFinal": True, "audio": None}],
    ),
    "vosk": (
        stt_vosk,
        lambda: stt_vosk.Vosk(stt_vosk.VoskOptions(), HERE),
        hears,
        [{"partial": "x"}, {"text": "a", "result": [{"conf": 0.9}]}, {"text": "", "result": []}],
    ),
    "whisper live": (
        stt_whisper_live,
        lambda: stt_whisper_live.WhisperLive(stt_whisper_live.WhisperLiveOptions(settle=0.001), HERE),
        hears,
        [{"message": "SERVER_READY"}, {"segments": [{"start": "0.0", "text": " a", "completed": True}]}],
    ),
    "deepgram": (
        stt_deepgram,
        lambda: stt_deepgram.Deepgram(stt_deepgram.DeepgramOptions(finalize_wait=0.001), HERE),
        hears,
        [
            {
                "type": "Results", "start": 0.0, "duration": 0.1, "is_final": True, "from_finalize": True,
                "channel": {"alternatives": [{"transcript": "a", "confidence": 0.9}]},
            },
            {"type": "Metadata"},
        ],
    ),
    "flux": (
        stt_deepgram_flux,
        lambda: stt_deepgram_flux.DeepgramFlux(stt_deepgram_flux.DeepgramFluxOptions(), HERE),
        hears,
        [{"type": "TurnInfo", "event": "EndOfTurn", "turn_index": 0, "transcript": "a", "words": [{"confidence": 1}]}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HTTP)
def test_a_wrong_value_anywhere_in_an_answer_is_passed_over_or_a_failure(monkeypatch, name):
    make, use, body, content_type, status, messages = HTTP[name]
    engine = make()
    for texts in poisoned(messages):
        said = body(texts)
        monkeypatch.setattr(
            requests.Session, "request", lambda *args, said=said, **options: _Answer(said, content_type, status)
        )
        try:
            use(engine)
        except ProviderError:
            continue


@pytest.mark.parametrize("name", SOCKETS)
def test_a_wrong_value_anywhere_in_a_message_is_passed_over_or_a_failure(monkeypatch, name):
    module, make, use, messages = SOCKETS[name]
    for texts in poisoned(messages):
        monkeypatch.setattr(module, "open_socket", lambda *args, texts=texts, **options: _Socket(texts))
        try:
            use(make())
        except ProviderError:
            continue


NASTY = "first\nsecond\r\x1b[2J\u2028\ud800 key-0123456789 " + "x" * 100_000


@pytest.mark.parametrize("name", ["an error in the stream", "ollama", "llama3", "streamed transcriptions"])
def test_what_a_service_says_is_one_short_line_of_an_error(monkeypatch, name):
    make, use, body, content_type, _, _ = HTTP[name]
    for said in ({"error": NASTY}, {"error": {"message": NASTY, "code": NASTY}}, {"type": "error", "error": NASTY}):
        text = body([json.dumps(said)])
        monkeypatch.setattr(
            requests.Session, "request", lambda *args, text=text, **options: _Answer(text, content_type, 200)
        )
        with pytest.raises(ProviderError) as caught:
            use(make())
        for told in (str(caught.value), caught.value.code):
            assert told.isprintable()
            assert len(told) < 1000


@pytest.mark.parametrize("name", SOCKETS)
def test_what_a_service_says_on_a_socket_is_one_short_line_of_an_error(monkeypatch, name):
    module, make, use, _ = SOCKETS[name]
    for said in ({"type": "Error", "error": NASTY, "message": NASTY, "description": NASTY, "status": "ERROR"}, NASTY):
        text = said if isinstance(said, str) else json.dumps(said)
        monkeypatch.setattr(module, "open_socket", lambda *args, text=text, **options: _Socket([text]))
        with pytest.raises(ProviderError) as caught:
            use(make())
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


def test_a_recogniser_in_a_loop_fills_no_memory(monkeypatch):
    words = Words()
    for at in range(2 * MAX_STRETCHES):
        channel = {"alternatives": [{"transcript": "hello", "confidence": 1}]}
        words.take({"start": at, "duration": 1, "is_final": True, "channel": channel}, _complaint)
    assert words.text.split() == ["hello"] * MAX_STRETCHES
    turns = [{"type": "TurnInfo", "event": "Update", "turn_index": at, "transcript": "a"} for at in range(1000)]
    monkeypatch.setattr(
        stt_deepgram_flux, "open_socket", lambda *args, **options: _Socket(list(map(json.dumps, turns)))
    )
    with pytest.raises(ProviderError, match="turns"):
        hears(stt_deepgram_flux.DeepgramFlux(stt_deepgram_flux.DeepgramFluxOptions(), HERE))


def test_times_that_no_clock_shows_are_no_results():
    words = Words(offset=1.0)
    channel = {"alternatives": [{"transcript": "a", "confidence": 1}]}
    with pytest.raises(ProviderError):
        words.take({"start": 10**400, "duration": 0.5, "is_final": True, "channel": channel}, _complaint)


def _complaint(message: str) -> ProviderError:
    return ProviderError("stt", message)
