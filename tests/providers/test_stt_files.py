"""Recognisers that are sent a WAV file: transcribe, transcribe_streaming, openai, whisper_cpp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import openai
import pytest

from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.providers.stt_openai import OpenAiRecogniser, OpenAiRecogniserOptions
from esl_agent.providers.stt_transcribe import Transcribe, TranscribeOptions
from esl_agent.providers.stt_transcribe_streaming import TranscribeStreaming, TranscribeStreamingOptions
from esl_agent.providers.stt_whisper_cpp import WhisperCpp, WhisperCppOptions
from esl_agent.testing.pretend_transcription import (
    PretendTranscribe,
    PretendTranscription,
    PretendTranscriptions,
    PretendWhisperCpp,
)
from esl_agent.testing.web import FOREVER, Fault, Reply
from tests.providers.contract_stt import (
    ENGLISH,
    PATIENCE,
    PHRASES,
    REFUSALS,
    RecogniserProviderContract,
    Speaking,
    frames,
    tone,
    until,
)

KEY = "sk-0123456789abcdef"


class FilesContract(RecogniserProviderContract):
    """... and of those over HTTP."""

    server: PretendTranscription

    def arrived(self) -> list[bytes]:
        return [pcm for pcm, _ in self.server.heard]

    @pytest.mark.parametrize(("status", "retryable", "blame"), REFUSALS)
    def test_a_refusal_says_whether_to_try_again_and_whom_to_blame(self, status, retryable, blame):
        self.server.faults = [Fault(instead=Reply.json({"error": {"message": f"no, {self.secret}"}}, status))] * 3
        error = self.failed()
        assert (error.retryable, error.blame) == (retryable, blame)

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(close_before=True),
            Fault(close_before=True, reset=True),
            Fault(close_after=4),
            Fault(instead=Reply(b"<html>ERR_NGROK_6024</html>", 200, "text/html")),
            Fault(instead=Reply(b"<html>bad gateway</html>", 502, "text/html")),
            Fault(instead=Reply(b'{"text": "h\xc3', 200)),
            Fault(instead=Reply(b'{"text": 7, "transcript": 7}', 200)),
            Fault(instead=Reply(b'["text"]', 200)),
            Fault(instead=Reply(b"{}", 200)),
            Fault(instead=Reply(b"", 200)),
            Fault(instead=Reply(b"[" * 100000, 200)),
        ],
    )
    def test_whatever_is_no_answer_may_pass(self, fault):
        self.server.faults = [fault] * 3
        assert self.failed().retryable

    def test_half_a_character_of_an_error_is_no_trouble(self):
        self.server.faults = [Fault(instead=Reply(b"caf\xc3", 500, "text/plain"))] * 3
        assert self.failed().retryable

    @pytest.mark.parametrize("point", [{"before": FOREVER}, {"after_first": FOREVER}])
    def test_a_stalled_service_is_let_go_of(self, point):
        self.server.faults = [Fault(**point)]
        worker = gevent.spawn(self.recognised, *frames(tone(1.6)))
        until(lambda: self.server.requests)
        gevent.sleep(0.02)
        worker.kill(timeout=1.0)
        assert worker.dead

    def test_the_connection_is_kept_for_the_next_utterance(self):
        engine = self.make()
        for _ in range(3):
            self.recognised(*frames(tone(1.6)), engine=engine)
        assert {each.connection for each in self.server.requests} == {1}


class TestTranscribe(FilesContract):
    rate = 16000

    @pytest.fixture(autouse=True)
    def serve(self) -> Iterator[None]:
        with PretendTranscribe() as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> Transcribe:
        return Transcribe(TranscribeOptions(f"{self.server.url}/transcribe", **options), context)

    def make_at(self, host: str) -> Any:
        return Transcribe(TranscribeOptions(f"http://{host}/transcribe"), ENGLISH)

    def test_a_failure_that_may_pass_is_tried_again_after_half_a_second(self):
        self.server.faults = [Fault(instead=Reply(b"busy", 503, "text/plain"))]
        assert self.failed().retry_after == 0.5

    def test_a_warning_of_the_tunnel_is_asked_not_to_come(self):
        self.recognised(tone(1.0))
        assert self.server.requests[0].headers["ngrok-skip-browser-warning"] == "1"

    def test_a_server_that_names_another_field_is_believed_from_then_on(self):
        with PretendTranscribe("audio_file", "text") as self.server:
            engine = self.make()
            assert [self.recognised(tone(0.8), engine=engine)[-1].text for _ in range(2)] == ["one two"] * 2
            assert len(self.server.requests) == 3

    @pytest.mark.parametrize(
        "detail",
        ["no", [], [{"loc": ["body", "file"]}], [{"loc": ["query", "x"]}], [{"loc": ["body", 'x"\r\ny']}], [7]],
    )
    def test_a_refusal_that_names_no_other_field_is_one(self, detail):
        self.server.faults = [Fault(instead=Reply.json({"detail": detail}, 422))]
        assert (self.failed().blame, len(self.server.requests)) == ("request", 1)

    def test_further_fields_go_with_the_file(self):
        self.recognised(tone(1.0), engine=self.make(fields={"language": "tr"}))
        assert self.server.forms[0].fields == [("language", "tr")]


class TestTranscribeStreaming(FilesContract):
    rate = 16000
    keeps = True

    @pytest.fixture(autouse=True)
    def serve(self) -> Iterator[None]:
        with PretendTranscribe() as self.server:
            yield

    def arrived(self) -> list[bytes]:
        """Partial passes are beginnings of the utterance; the whole is the last."""
        found = [pcm for pcm, _ in self.server.heard]
        return [pcm for n, pcm in enumerate(found) if n + 1 == len(found) or not found[n + 1].startswith(pcm)]

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> TranscribeStreaming:
        given = {"interval": 0.4, **options}
        return TranscribeStreaming(TranscribeStreamingOptions(f"{self.server.url}/transcribe", **given), context)

    def make_at(self, host: str) -> Any:
        return TranscribeStreaming(TranscribeStreamingOptions(f"http://{host}/transcribe"), ENGLISH)

    def said(self, speaking: Speaking, engine: Any) -> tuple[list[Transcript], Any]:
        found: list[Transcript] = []
        return found, gevent.spawn(lambda: found.extend(engine.recognise(iter(speaking), 16000)))

    def test_calls_at_the_same_time_hear_only_themselves(self):
        found = [gevent.spawn(self.recognised, *frames(tone(n * 0.4))) for n in (3, 4, 5)]
        gevent.joinall(found, timeout=PATIENCE, raise_error=True)
        assert [len(task.value[-1].text.split()) for task in found] == [3, 4, 5]

    def test_words_are_told_while_the_caller_speaks(self):
        speaking = Speaking()
        found, worker = self.said(speaking, self.make())
        for count in (2, 4):
            speaking.say(tone(0.8))
            until(lambda count=count: found and len(found[-1].text.split()) == count)
        speaking.end()
        worker.join(PATIENCE)
        assert [(each.text, each.final) for each in found] == [
            ("one two", False), ("one two three four", False), ("one two three four", True),
        ]  # fmt: skip

    def test_the_pass_at_a_pause_is_the_final_one_if_only_quiet_follows(self):
        speaking = Speaking(tone(1.6) + bytes(16000))
        found, worker = self.said(speaking, self.make(interval=5.0))
        until(lambda: found)
        asked = len(self.server.requests)
        speaking.say(bytes(16000))
        speaking.end()
        worker.join(PATIENCE)
        assert [(each.text, each.final) for each in found] == [("one two three four", n) for n in (False, True)]
        assert len(self.server.requests) == asked == 1

    def test_words_after_a_pause_are_part_of_the_final_pass(self):
        speaking = Speaking(tone(0.8) + bytes(16000))
        found, worker = self.said(speaking, self.make(interval=5.0))
        until(lambda: found)
        speaking.say(tone(0.4))
        speaking.end()
        worker.join(PATIENCE)
        assert found[-1] == Transcript("one two three", True)

    def test_there_is_one_request_at_a_time(self):
        self.server.slowness = 0.02
        speaking = Speaking()
        _, worker = self.said(speaking, self.make(interval=0.1))
        for _ in range(20):
            speaking.say(tone(0.1))
            gevent.sleep(0.003)
        speaking.end()
        worker.join(PATIENCE)
        assert self.server.most_at_once == 1
        assert len(self.server.requests) > 2

    def test_a_pass_that_fails_is_no_failure_of_the_utterance(self):
        self.server.faults = [Fault(instead=Reply(b"busy", 503, "text/plain"))]
        speaking = Speaking(tone(1.2))
        found, worker = self.said(speaking, self.make())
        until(lambda: self.server.requests)
        speaking.end()
        worker.join(PATIENCE)
        assert [(each.text, each.final) for each in found] == [("one two three", True)]

    def test_a_pass_that_stalls_is_given_up_and_the_final_one_comes(self):
        self.server.faults = [Fault(before=FOREVER)]
        speaking = Speaking(tone(1.2))
        found, worker = self.said(speaking, self.make(partial_timeout=0.05))
        until(lambda: self.server.requests)
        speaking.end()
        worker.join(PATIENCE)
        assert found[-1] == Transcript("one two three", True)

    def test_the_window_moves_on_and_what_came_before_keeps_its_words(self):
        speaking = Speaking()
        found, worker = self.said(speaking, self.make(window=5.0, interval=0.8))
        for count in range(1, 11):
            speaking.say(tone(0.8))
            until(lambda count=count: len(self.server.heard) >= count)
        speaking.end()
        worker.join(PATIENCE)
        lengths = [len(pcm) / 32000 for pcm, _ in self.server.heard]
        assert max(lengths[:-1]) <= 5.8
        assert lengths[-1] == pytest.approx(8.0)
        assert found[-1].final


class TestOpenAi(FilesContract):
    secret = KEY

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with PretendTranscriptions(KEY) as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> OpenAiRecogniser:
        given = {"api_key_env": "OPENAI_API_KEY", **options}
        return OpenAiRecogniser(OpenAiRecogniserOptions(url=f"{self.server.url}/v1", **given), context)

    def make_at(self, host: str) -> Any:
        return OpenAiRecogniser(OpenAiRecogniserOptions(url=f"http://{host}/v1"), ENGLISH)

    def test_the_request_is_what_the_sdk_would_send(self):
        self.recognised(tone(1.6), engine=self.make(phrases="keywords", prompt="A bakery.", temperature=0.0))
        ours = self.server.forms[-1]
        client = openai.OpenAI(api_key=KEY, base_url=f"{self.server.url}/v1", max_retries=0)
        answer = client.audio.transcriptions.create(
            file=("utterance.wav", ours.files["file"][1], "audio/wav"), model="gpt-transcribe", language="en",
            response_format="json", prompt="A bakery.", keywords=list(PHRASES), temperature=0,
        )  # fmt: skip
        assert answer.text == "one two three four"
        assert answer.usage is not None
        assert answer.usage.type == "duration"
        theirs = self.server.forms[-1]
        assert sorted(ours.fields) == sorted(theirs.fields)

    def test_what_the_pretend_service_streams_is_what_the_sdk_reads(self):
        self.recognised(tone(1.6), engine=self.make(stream=True))
        client = openai.OpenAI(api_key=KEY, base_url=f"{self.server.url}/v1", max_retries=0)
        file = self.server.forms[-1].files["file"][1]
        events = list(client.audio.transcriptions.create(file=("a.wav", file), model="gpt-transcribe", stream=True))
        assert [each.type for each in events] == ["transcript.text.delta"] * 4 + ["transcript.text.done"]
        assert "".join(each.delta for each in events[:4]) == events[4].text == "one two three four"

    def test_streamed_text_is_told_as_it_grows(self):
        found = self.recognised(tone(1.2), engine=self.make(stream=True))
        assert [(each.text, each.final) for each in found] == [
            ("one", False), ("one two", False), ("one two three", False), ("one two three", True),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "body",
        [
            b'data: {"type":"transcript.text.delta","delta":"on"}\n\n',
            b'data: {"type":"transcript.text.delta","delta":7}\n\n',
            b'data: {"error":{"message":"over"}}\n\n',
            b"data: nonsense\n\n",
            b"data: [DONE]\n\n",
            b'data: {"type":"transcript.text.done"}\n\n',
        ],
    )
    def test_a_stream_that_ends_before_it_is_done_may_pass(self, body):
        self.server.faults = [Fault(instead=Reply([body], content_type="text/event-stream"))]
        assert self.failed().retryable

    def test_how_sure_it_is_comes_from_the_tokens(self):
        engine = self.make(model="gpt-4o-transcribe", logprobs=True)
        assert self.recognised(tone(1.2), engine=engine)[-1].confidence == pytest.approx(0.9)

    def test_a_model_that_does_not_exist_is_a_matter_of_setup(self):
        with pytest.raises(Exception, match="model_not_found") as caught:
            self.recognised(tone(1.2), engine=self.make(model="gone"))
        assert caught.value.blame == "setup"  # type: ignore[attr-defined]

    def test_openais_key_is_not_sent_to_another_server(self):
        with PretendTranscriptions() as self.server:
            assert self.recognised(tone(0.8), engine=self.make(api_key_env=""))[-1].text == "one two"
            assert "authorization" not in self.server.requests[0].headers


class TestWhisperCpp(FilesContract):
    rate = 16000

    @pytest.fixture(autouse=True)
    def serve(self) -> Iterator[None]:
        with PretendWhisperCpp() as self.server:
            yield

    def make(self, context: EngineContext = ENGLISH, **options: Any) -> WhisperCpp:
        return WhisperCpp(WhisperCppOptions(url=self.server.url, **options), context)

    def make_at(self, host: str) -> Any:
        return WhisperCpp(WhisperCppOptions(url=f"http://{host}"), ENGLISH)

    @pytest.mark.parametrize(("tag", "sent"), [("tr", "tr"), ("de-AT", "de"), ("nb-NO", "no"), ("en", "en")])
    def test_the_language_is_always_told(self, tag, sent):
        self.recognised(tone(1.0), engine=self.make(EngineContext(tag)))
        assert self.server.languages == [sent]

    def test_an_error_inside_a_good_answer_is_one(self):
        self.server.faults = [Fault(instead=Reply.json({"error": "failed to read WAV file"}))]
        assert self.failed().blame == "request"

    def test_a_model_that_is_still_loading_is_told_in_the_log(self, caplog):
        self.server.faults = [Fault(instead=Reply(b"File Not Found (/health)", 404, "text/plain"))]
        self.make().warm()
        until(lambda: "is its model loaded?" in caplog.text)
