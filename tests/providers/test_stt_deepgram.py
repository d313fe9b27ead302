"""Deepgram: Nova over ``/v1/listen``, Flux over ``/v2/listen``; and two recognisers behind each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import ListenV1Metadata, ListenV1Results
from deepgram.listen.v2.types import ListenV2Connected, ListenV2TurnInfo

from esl_agent.dialogue.settings import LimitSettings
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.providers.resilience_settings import ResilienceSettings
from esl_agent.providers.resilient import ResilientRecogniser
from esl_agent.providers.stt_deepgram import KEEP_ALIVE, Deepgram, DeepgramOptions
from esl_agent.providers.stt_deepgram_flux import DeepgramFlux, DeepgramFluxOptions
from esl_agent.providers.stt_openai import OpenAiRecogniser, OpenAiRecogniserOptions
from esl_agent.providers.stt_vosk import Vosk, VoskOptions
from esl_agent.testing.pretend_deepgram import KEY, PretendDeepgram
from esl_agent.testing.pretend_vosk import PretendVosk
from esl_agent.testing.web import PretendHttp, drop
from tests.providers.contract_llm import self_signed
from tests.providers.contract_stt import (
    ENGLISH,
    PATIENCE,
    PHRASES,
    SocketsContract,
    Speaking,
    frames,
    tone,
    until,
)


class TestDeepgram(SocketsContract):
    secret = KEY
    wrong = (
        {"type": "Results", "start": "0", "duration": 1},
        {"type": "Results", "start": 0, "duration": 1, "channel": []},
        {"type": "Results", "start": 0, "duration": 1, "channel": {"alternatives": [{"transcript": 7}]}},
    )

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
        with PretendDeepgram() as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> Deepgram:
        given = {"finalize_wait": 5.0, **options}
        return Deepgram(DeepgramOptions(url=self.server.url, **given), context)

    def make_at(self, host: str) -> Any:
        return Deepgram(DeepgramOptions(url=f"ws://{host}"), ENGLISH)

    def last_arrived(self, pcm: bytes) -> bytes:
        return bytes(self.server.heard[-1][-len(pcm) :])

    def test_utterances_share_a_connection_and_nothing_else(self):
        engine = self.make()
        for count, text in ((4, "one two three four"), (2, "one two"), (3, "one two three")):
            found = self.recognised(*frames(tone(count * 0.4)), engine=engine)
            assert found[-1].text == text
            assert found[0].text in ("one", "one two", text)
        assert self.server.connections == 1
        assert self.server.told[0] == ['{"type":"Finalize"}'] * 3

    def test_a_result_of_the_utterance_before_is_none_of_this_one(self):
        self.server.late = True
        engine = self.make()
        self.recognised(*frames(tone(0.8)), engine=engine)
        found = self.recognised(*frames(tone(0.4)), engine=engine)
        assert {each.text for each in found} == {"one"}

    def test_without_an_answer_to_finalize_the_stream_is_closed_and_not_used_again(self):
        self.server.answers_finalize = False
        engine = self.make(finalize_wait=0.02)
        for _ in range(2):
            assert self.recognised(*frames(tone(1.6)), engine=engine)[-1].text == "one two three four"
        assert self.server.connections == 2
        assert self.server.told == [['{"type":"Finalize"}', '{"type":"CloseStream"}']] * 2

    def test_a_connection_for_each_utterance_is_closed_at_its_end(self):
        engine = self.make(keep_open=0.0)
        assert self.recognised(*frames(tone(1.6)), engine=engine)[-1].text == "one two three four"
        assert self.server.told == [['{"type":"CloseStream"}']]
        until(lambda: not self.server.open_connections)

    def test_a_waiting_connection_is_kept_alive(self, monkeypatch):
        monkeypatch.setattr("esl_agent.providers.stt_deepgram.KEEP_ALIVE_EVERY", 0.02)
        self.server.idle = 0.1
        engine = self.make()
        self.recognised(tone(1.0), engine=engine)
        until(lambda: self.server.told[0].count(KEEP_ALIVE) > 6)
        assert self.recognised(tone(0.8), engine=engine)[-1].text == "one two"
        assert self.server.connections == 1

    def test_a_failure_leaves_no_connection_behind_for_the_next_utterance(self):
        engine = self.make()
        self.server.trouble["sound"] = lambda connection: connection.send("nonsense")
        with pytest.raises(ProviderError):
            self.recognised(*frames(tone(1.6)), engine=engine)
        assert self.recognised(*frames(tone(0.8)), engine=engine)[-1].text == "one two"
        assert self.server.connections == 2

    def test_its_end_of_speech_ends_the_utterance_only_if_told_to(self):
        pcm = tone(0.8) + bytes(12800)
        assert self.recognised(*frames(pcm + tone(0.8)))[-1].text == "one two three four"
        speaking = Speaking(pcm)
        engine = self.make(end_early=True, endpointing_ms=300)
        with gevent.Timeout(PATIENCE):
            found = list(engine.recognise(iter(speaking), 16000))
        assert found[-1] == Transcript("one two", True, pytest.approx(0.9))
        speaking.end()
        until(lambda: not speaking.readers)
        with pytest.raises(ValueError, match="endpointing_ms"):
            self.make(end_early=True)

    def test_an_error_message_is_an_error(self):
        said = json.dumps({"type": "Error", "variant": "x", "description": f"bad {KEY}"})
        self.server.trouble["sound"] = lambda connection: connection.send(said)
        assert "bad ***" in str(self.failed())

    def test_what_it_is_asked_for(self):
        engine = self.make(phrases=True, parameters={"smart_format": "true"}, encoding="mulaw")
        self.recognised(tone(1.0), engine=engine)
        assert self.server.queries == [
            {
                "model": ["nova-3"], "language": ["en"], "encoding": ["mulaw"], "sample_rate": ["8000"],
                "channels": ["1"], "interim_results": ["true"], "smart_format": ["true"], "keyterm": list(PHRASES),
            }
        ]  # fmt: skip

    def test_the_sdk_reads_what_the_pretend_service_says(self):
        with sdk(self.server).listen.v1.connect(
            model="nova-3", language="en", encoding="linear16", sample_rate=16000, channels=1, interim_results=True
        ) as socket:
            for frame in frames(tone(0.8)):
                socket.send_media(frame)
            socket.send_keep_alive()
            socket.send_finalize()
            socket.send_close_stream()
            found = list(socket)
        strict = [type(each).model_validate(each.dict()) for each in found]
        results = [each for each in strict if isinstance(each, ListenV1Results)]
        assert [each.channel.alternatives[0].transcript for each in results][-1] == "one two"
        assert results[-1].from_finalize
        assert isinstance(strict[-1], ListenV1Metadata)
        assert self.server.queries[0]["interim_results"] == ["true"]

    def test_the_sdk_says_the_same_control_messages(self):
        with sdk(self.server).listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16000) as socket:
            socket.send_media(tone(0.4))
            socket.send_finalize()
            socket.send_close_stream()
            list(socket)
        theirs = [json.loads(each) for each in self.server.told[0]]
        self.server.answers_finalize = False
        self.recognised(tone(0.4), engine=self.make(finalize_wait=0.02))
        assert [json.loads(each) for each in self.server.told[1]] == theirs


class TestDeepgramFlux(SocketsContract):
    secret = KEY
    wrong = (
        {"type": "TurnInfo", "turn_index": "0", "transcript": "a"},
        {"type": "TurnInfo", "turn_index": 0, "transcript": None},
    )

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
        with PretendDeepgram() as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> DeepgramFlux:
        return DeepgramFlux(DeepgramFluxOptions(url=self.server.url, **options), context)

    def make_at(self, host: str) -> Any:
        return DeepgramFlux(DeepgramFluxOptions(url=f"ws://{host}"), ENGLISH)

    def test_its_end_of_turn_ends_the_utterance(self):
        speaking = Speaking(tone(0.8) + bytes(32000) + tone(0.8))
        with gevent.Timeout(PATIENCE):
            found = list(self.make().recognise(iter(speaking), 16000))
        assert found[-1] == Transcript("one two", True, pytest.approx(0.9))
        speaking.end()
        until(lambda: not speaking.readers)

    def test_turns_are_joined_where_only_our_own_silence_counts(self):
        found = self.recognised(*frames(tone(0.8) + bytes(32000) + tone(0.8)), engine=self.make(end_early=False))
        assert found[-1].text == "one two one two"

    def test_a_guessed_end_and_its_resumption_are_partial_words(self):
        pcm = tone(0.8) + bytes(12800) + tone(0.8)
        found = self.recognised(*frames(pcm), engine=self.make(eager_eot_threshold=0.5))
        assert [each.final for each in found].count(True) == 1
        assert found[-1].text == "one two three four"

    def test_an_end_of_tcp_after_the_end_of_the_sound_is_no_fault(self):
        self.server.trouble["end"] = drop
        assert self.recognised(*frames(tone(1.6)))[-1].text

    def test_languages_that_it_does_not_know_are_refused_at_the_start(self):
        with pytest.raises(ConfigError, match="en, es, fr, de"):
            self.make(EngineContext("tr"))
        for tag, model, hints in (("en-US", "flux-general-en", None), ("de-AT", "flux-general-multi", ["de"])):
            self.recognised(tone(1.0), engine=self.make(EngineContext(tag)))
            assert self.server.queries[-1]["model"] == [model]
            assert self.server.queries[-1].get("language_hint") == hints

    def test_a_fatal_error_is_an_error(self):
        said = json.dumps({"type": "Error", "sequence_id": 1, "code": "NET-0000", "description": f"oh {KEY}"})
        self.server.trouble["sound"] = lambda connection: connection.send(said)
        assert "NET-0000: oh ***" in str(self.failed())

    def test_the_sdk_reads_what_the_pretend_service_says(self):
        with sdk(self.server).listen.v2.connect(
            model="flux-general-en", encoding="linear16", sample_rate=16000, eager_eot_threshold=0.5
        ) as socket:
            for frame in frames(tone(0.8) + bytes(32000)):
                socket.send_media(frame)
            socket.send_close_stream()
            found = [type(each).model_validate(each.dict()) for each in socket]
        assert isinstance(found[0], ListenV2Connected)
        turns = [each for each in found if isinstance(each, ListenV2TurnInfo)]
        events = [each.event for each in turns]
        assert events[0] == "StartOfTurn"
        assert events[-1] == "EndOfTurn"
        assert "EagerEndOfTurn" in events
        assert turns[-1].transcript == "one two"


@pytest.mark.parametrize("engine", ["deepgram", "openai"])
def test_a_stranger_s_certificate_is_a_matter_of_setup(engine, tmp_path, monkeypatch):
    for name in ("DEEPGRAM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    with PretendHttp(tls=self_signed(tmp_path)) as server:
        if engine == "openai":
            made: Any = OpenAiRecogniser(OpenAiRecogniserOptions(url=server.url), ENGLISH)
        else:
            made = Deepgram(DeepgramOptions(url=server.url.replace("https", "wss")), ENGLISH)
        with pytest.raises(ProviderError) as caught:
            list(made.recognise(iter([tone(1.0)]), 16000))
    assert (caught.value.retryable, caught.value.blame) == (False, "setup")


@pytest.mark.parametrize("end_of", [Deepgram, DeepgramFlux])
def test_who_it_is_says_nothing_of_the_key(end_of, monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
    options = DeepgramOptions() if end_of is Deepgram else DeepgramFluxOptions()
    identity = end_of(options, ENGLISH).identity
    assert identity.account.startswith("api.deepgram.com#")
    assert KEY not in repr(identity)


def test_whoever_takes_over_in_the_middle_of_an_utterance_hears_it_from_its_beginning(monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
    with PretendDeepgram() as first, PretendVosk() as second:
        engines = [
            Deepgram(DeepgramOptions(url=first.url), ENGLISH),
            Vosk(VoskOptions(url=second.url), ENGLISH),
        ]
        stage = ResilientRecogniser(engines, ResilienceSettings(), LimitSettings(), Accounts())
        first.refuse = (401, b"no")
        speaking = Speaking(tone(0.8))
        found: list[Transcript] = []
        worker = gevent.spawn(lambda: found.extend(stage.recognise(iter(speaking), 16000)))
        until(lambda: found)
        speaking.say(tone(0.8))
        speaking.end()
        worker.join(PATIENCE)
        assert (found[-1].text, found[-1].final) == ("one two three four", True)
        assert bytes(second.heard[0]) == tone(0.8) * 2
        assert not first.heard


def test_an_end_of_turn_ends_the_utterance_of_a_call(monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", KEY)
    with PretendDeepgram() as server:
        flux = DeepgramFlux(DeepgramFluxOptions(url=server.url), ENGLISH)
        stage = ResilientRecogniser([flux], ResilienceSettings(), LimitSettings(), Accounts())
        speaking = Speaking(tone(0.8) + bytes(32000))
        with gevent.Timeout(PATIENCE):
            found = list(stage.recognise(iter(speaking), 16000))
        assert (found[-1].text, found[-1].final) == ("one two", True)
        speaking.end()
        until(lambda: not server.open_connections)


def sdk(server: PretendDeepgram) -> DeepgramClient:
    url = server.url
    environment = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
    return DeepgramClient(api_key=KEY, environment=environment)
