"""Recognisers that hear along over a WebSocket: vosk, whisper_live, deepgram, deepgram_flux."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import ListenV1Metadata, ListenV1Results
from deepgram.listen.v2.types import ListenV2Connected, ListenV2TurnInfo

from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.providers.stt_deepgram import KEEP_ALIVE, Deepgram, DeepgramOptions
from esl_agent.providers.stt_deepgram_flux import DeepgramFlux, DeepgramFluxOptions
from esl_agent.providers.stt_openai import OpenAiRecogniser, OpenAiRecogniserOptions
from esl_agent.providers.stt_vosk import Vosk, VoskOptions
from esl_agent.providers.stt_whisper_live import WhisperLive, WhisperLiveOptions
from esl_agent.testing.ears import PretendEars
from esl_agent.testing.pretend_deepgram import KEY, PretendDeepgram
from esl_agent.testing.pretend_vosk import PretendVosk
from esl_agent.testing.pretend_whisper_live import PretendWhisperLive
from esl_agent.testing.web import PretendHttp, drop
from tests.providers.contract_llm import self_signed
from tests.providers.contract_stt import (
    ENGLISH,
    LET_GO,
    PATIENCE,
    PHRASES,
    RecogniserProviderContract,
    Speaking,
    frames,
    tone,
    until,
)

NONSENSE = ["nonsense", "[1]", "7", "null", "{", b"\xff\xfe", '{"text": "h', "[" * 100000]


class SocketsContract(RecogniserProviderContract):
    """... and of those over a WebSocket."""

    server: PretendEars
    #: When something can go wrong.
    points: tuple[str, ...] = ("open", "sound", "end")
    #: Messages whose fields are of the wrong type.
    wrong: tuple[dict[str, Any], ...] = ()

    def arrived(self) -> list[bytes]:
        return [bytes(each) for each in self.server.heard if each]

    @pytest.mark.parametrize(
        ("status", "retryable", "blame"),
        [(401, False, "setup"), (402, False, "setup"), (429, True, "service"), (503, True, "service")],
    )
    def test_a_refused_handshake_says_whether_to_try_again_and_whom_to_blame(self, status, retryable, blame):
        self.server.refuse = (status, f'{{"err_code":"NO","err_msg":"not with {self.secret}"}}'.encode())
        error = self.failed()
        assert (error.retryable, error.blame) == (retryable, blame)

    def failed_midway(self) -> ProviderError:
        """How an utterance fails that the caller still speaks."""
        speaking = Speaking(tone(1.6))
        try:
            return self.failed(speaking)
        finally:
            speaking.end()

    @pytest.mark.parametrize("point", ["open", "sound", "end"])
    @pytest.mark.parametrize(
        ("code", "retryable", "blame"), [(1008, False, "request"), (1011, True, "service"), (1013, True, "service")]
    )
    def test_a_connection_closed_with_a_complaint_says_whom_to_blame(self, point, code, retryable, blame):
        if point not in self.points:
            pytest.skip("nothing is awaited of it any more")
        self.server.trouble[point] = lambda connection: connection.close(code, f"no {self.secret}")
        error = self.failed() if point == "end" else self.failed_midway()
        assert (error.retryable, error.blame) == (retryable, blame)

    @pytest.mark.parametrize("point", ["open", "sound"])
    def test_a_connection_that_is_gone_in_the_middle_may_pass(self, point):
        for end in (drop, lambda connection: connection.close()):
            self.server.trouble[point] = end
            assert self.failed_midway().retryable

    @pytest.mark.parametrize("point", ["open", "sound"])
    @pytest.mark.parametrize("message", NONSENSE, ids=range(len(NONSENSE)))
    def test_nonsense_is_an_error_of_the_service(self, point, message):
        self.server.trouble[point] = lambda connection: connection.send(message)
        error = self.failed_midway()
        assert (error.retryable, error.blame) == (True, "service")

    @pytest.mark.parametrize("point", ["open", "sound"])
    def test_half_a_character_may_pass(self, point):
        self.server.trouble[point] = lambda connection: connection.send(b'{"text": "h\xc3', text=True)
        assert self.failed_midway().retryable

    def test_fields_of_the_wrong_type_are_an_error_of_the_service(self):
        for message in self.wrong:
            self.server.trouble["sound"] = lambda connection, message=message: connection.send(json.dumps(message))
            assert self.failed_midway().retryable, message

    @pytest.mark.parametrize("point", ["open", "sound"])
    def test_a_stalled_service_is_let_go_of(self, point):
        self.server.trouble[point] = self.server.stall
        worker = gevent.spawn(list, self.make().recognise(iter(frames(tone(1.6))), 16000))
        until(lambda: not self.server.trouble)
        gevent.sleep(0.02)
        worker.kill(timeout=LET_GO)
        assert worker.dead

    def test_a_service_that_stops_reading_is_let_go_of(self):
        self.server.trouble["sound"] = self.server.stall
        speaking = Speaking(tone(55.0))
        worker = gevent.spawn(list, self.make().recognise(iter(speaking), 16000))
        until(lambda: self.server.heard and self.server.heard[0])
        gevent.sleep(0.05)
        worker.kill(timeout=LET_GO)
        assert worker.dead
        del worker  # its traceback holds what no thread reads any more
        gc.collect()
        speaking.end()
        until(lambda: not speaking.readers, LET_GO)

    def test_words_are_told_while_the_caller_speaks(self):
        speaking = Speaking(tone(1.6))
        found: list[Transcript] = []
        worker = gevent.spawn(lambda: found.extend(self.make().recognise(iter(speaking), 16000)))
        until(lambda: found)
        assert not found[-1].final
        speaking.end()
        worker.join(PATIENCE)
        assert found[-1] == Transcript("one two three four", True, found[-1].confidence)

    def test_a_sender_ends_with_its_sound_after_the_service_is_gone(self):
        self.server.trouble["sound"] = drop
        speaking = Speaking(tone(1.6))
        with pytest.raises(ProviderError):
            list(self.make().recognise(iter(speaking), 16000))
        speaking.end()
        until(lambda: not speaking.readers, LET_GO)


class TestVosk(SocketsContract):
    wrong = ({"partial": 7}, {"text": ["a"]}, {"result": []})

    @pytest.fixture(autouse=True)
    def serve(self) -> Iterator[None]:
        with PretendVosk() as self.server:
            yield

    #: It has no thread of its own that reads.
    test_a_sender_ends_with_its_sound_after_the_service_is_gone = None  # type: ignore[assignment]

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> Vosk:
        return Vosk(VoskOptions(url=self.server.url, **options), context)

    def make_at(self, host: str) -> Any:
        return Vosk(VoskOptions(url=f"ws://{host}"), ENGLISH)

    @pytest.mark.parametrize("rate", [8000, 16000])
    def test_the_server_knows_the_rate_before_the_first_sound(self, rate):
        self.recognised(tone(1.0, rate), rate=rate)
        assert self.server.rates == [rate]
        assert self.server.told == [['{"eof" : 1}']]

    def test_stretches_of_speech_are_joined(self):
        with PretendVosk(stretch=0.8) as self.server:
            found = self.recognised(*frames(tone(2.0)))
        assert found[-1] == Transcript("one two one two one", True, pytest.approx(0.9))
        assert found[-2].text == "one two one two one"

    def test_it_may_know_nothing_but_what_is_expected(self):
        self.recognised(tone(1.0), engine=self.make(phrases=True))
        self.recognised(tone(1.0))
        assert [each.get("phrase_list") for each in self.server.configs] == [[*PHRASES, "[unk]"], None]

    def test_the_c_server_gets_no_configuration(self):
        assert self.recognised(tone(0.8, 8000), rate=8000, engine=self.make(send_config=False))[-1].text == "one two"
        assert self.server.configs == []


class TestWhisperLive(SocketsContract):
    rate = 16000
    points = ("open", "sound")
    secret = "wl-0123456789"
    wrong = ({"segments": [{"start": "0", "text": 7}]}, {"segments": [{"start": "0"}]})
    knows_int16 = True

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv("WHISPER_LIVE_API_KEY", self.secret)
        with PretendWhisperLive(self.secret, knows_int16=self.knows_int16) as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> WhisperLive:
        return WhisperLive(WhisperLiveOptions(url=self.server.url, **{"settle": 0.1, **options}), context)

    def make_at(self, host: str) -> Any:
        return WhisperLive(WhisperLiveOptions(url=f"ws://{host}"), ENGLISH)

    def arrived(self) -> list[bytes]:
        """Without the second of silence that follows each."""
        return [each.removesuffix(bytes(32000)) if any(each) else each[:-32000] for each in super().arrived()]

    def test_an_utterance_shorter_than_a_second_is_understood(self):
        assert self.recognised(tone(0.4))[-1].text == "one"

    def test_newer_servers_take_half_the_bytes(self):
        pcm = tone(1.6)
        assert self.recognised(pcm, engine=self.make(samples="int16"))[-1].text == "one two three four"
        assert self.arrived() == [pcm]
        assert [each.get("audio_format") for each in self.server.hellos] == ["int16"]

    def test_a_server_without_a_free_place_may_have_one_later(self):
        with PretendWhisperLive(places=0) as self.server:
            error = self.failed()
        assert (error.retryable, error.blame) == (True, "service")
        assert "9.5 minutes" in str(error)

    def test_a_warning_is_none_of_our_business(self):
        warning = json.dumps({"uid": "x", "status": "WARNING", "message": "no such model, using small"})
        self.server.trouble["open"] = lambda connection: connection.send(warning)
        assert self.recognised(tone(0.8))[-1].text == "one two"

    @pytest.mark.parametrize("said", [{"status": "ERROR", "message": "no"}, {"message": "DISCONNECT"}])
    def test_what_ends_a_connection_is_an_error(self, said):
        self.server.trouble["sound"] = lambda connection: connection.send(json.dumps({"uid": "x", **said}))
        assert self.failed().retryable

    def test_the_end_is_told_so_that_the_place_is_free(self):
        self.recognised(bytes(32000))
        until(lambda: self.server.ended == 1)

    def test_each_connection_is_told_the_language(self):
        for tag in ("tr", "nb-NO"):
            self.recognised(tone(1.0), engine=self.make(EngineContext(tag)))
        self.recognised(tone(1.0), engine=self.make(language="auto"))
        assert [each["language"] for each in self.server.hellos] == ["tr", "no", None]
        assert len({each["uid"] for each in self.server.hellos}) == 3


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
        given = {"finalize_wait": 0.05, **options}
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
        engine = self.make()
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
        self.recognised(tone(0.4))
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


def sdk(server: PretendDeepgram) -> DeepgramClient:
    url = server.url
    environment = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
    return DeepgramClient(api_key=KEY, environment=environment)
