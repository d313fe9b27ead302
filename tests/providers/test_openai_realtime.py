"""OpenAI Realtime: the session that is asked for, what crosses on the way, and who is blamed."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from esl_agent.config.validate import validate
from esl_agent.dialogue.actions import Message
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.providers.base import (
    AgentBrief,
    CallerBegan,
    CallerEnded,
    CallerWords,
    EngineContext,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    UsagePart,
)
from esl_agent.providers.openai_realtime import OpenAiRealtime, OpenAiRealtimeOptions
from esl_agent.providers.realtime_messages import ALAW, PCM, ULAW
from esl_agent.providers.realtime_options import TranscriptionSettings, TurnDetectionSettings
from esl_agent.testing.pretend_realtime import KEY, Called, Persona, PretendRealtime, Reply, tone
from esl_agent.testing.realtime_ear import encoded
from tests.providers.contract_agent import HISTORY, PROMPT, TOOL, AgentContract, Call
from tests.providers.contract_stt import until

VARIABLE = "REALTIME_KEY"


def turns(**given: Any) -> TurnDetectionSettings:
    return TurnDetectionSettings(**given)


class Realtime(AgentContract):
    secret = KEY

    @pytest.fixture(autouse=True)
    def serve(self, monkeypatch) -> Iterator[None]:
        monkeypatch.setenv(VARIABLE, KEY)
        with self.serving() as self.server:
            yield

    def serving(self) -> PretendRealtime:
        return PretendRealtime()

    def make(self, **options: Any) -> OpenAiRealtime:
        given = {"url": self.server.url, "api_key_env": VARIABLE, **options}
        return OpenAiRealtime(OpenAiRealtimeOptions(**given), EngineContext("en-GB"))

    @property
    def talk(self) -> Any:
        return self.server.sessions[-1]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.talk.received if event["type"] == kind]


class TestOpenAiRealtime(Realtime):
    # The session

    def test_nothing_is_sent_before_the_session_is_as_it_was_asked_to_be(self):
        with self.call(brief=AgentBrief(PROMPT, PCM, (TOOL,), HISTORY)) as call:
            call.session.hear(bytes(960))
            until(lambda: self.talk.appended)
        kinds = [event["type"] for event in self.talk.received]
        assert kinds == ["session.update", "conversation.item.create", "conversation.item.create"]
        assert [event["type"] for event in self.talk.sent][:2] == ["session.created", "session.updated"]

    def test_the_defaults_are_those_of_the_older_bridge_in_today_s_shape(self):
        with self.call(brief=AgentBrief(PROMPT, PCM, (TOOL,))):
            (update,) = self.sent("session.update")
        assert update["session"] == {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": PROMPT,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "gpt-live-transcribe", "language": "en"},
                    "turn_detection": {
                        "type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 500, "silence_duration_ms": 300,
                        "create_response": True, "interrupt_response": True,
                    },
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ash"},
            },
            "tools": [{
                "type": "function", "name": "order_status", "description": TOOL.description,
                "parameters": TOOL.parameters,
            }],
            "tool_choice": "auto",
        }  # fmt: skip

    def test_what_the_operator_sets_is_sent(self):
        detection = turns(type="semantic_vad", eagerness="high")
        with self.call(
            turn_detection=detection, transcription=TranscriptionSettings(model=""), noise_reduction="far_field",
            speed=1.2, max_output_tokens=500, reasoning_effort="low", voice="voice_123",
        ):  # fmt: skip
            session = self.sent("session.update")[0]["session"]
        heard, said = session["audio"]["input"], session["audio"]["output"]
        assert heard["turn_detection"] == {
            "type": "semantic_vad", "eagerness": "high", "create_response": True, "interrupt_response": True,
        }  # fmt: skip
        assert (heard["transcription"], heard["noise_reduction"]) == (None, {"type": "far_field"})
        assert (said["speed"], said["voice"]) == (1.2, {"id": "voice_123"})
        assert (session["max_output_tokens"], session["reasoning"]) == (500, {"effort": "low"})

    def test_an_agent_that_may_not_be_interrupted_says_all_of_it(self):
        brief = AgentBrief(PROMPT, PCM, interruptible=False)
        with self.call(Reply("A long story.", tone(3.0), pause_after=1), Reply("Yes?"), brief=brief) as call:
            call.session.respond()
            call.until(SoundPart)
            call.speak()
            call.until(CallerEnded)
            self.talk.go_on.set()
            assert call.until(ResponseEnded).status == "completed"
            call.session.respond()  # what was said meanwhile
            assert call.until(ResponseEnded, 2).status == "completed"
        assert self.talk.errors == []

    def test_what_may_not_be_interrupted_is_heard_out_and_all_that_follows_may_be(self):
        story = Reply("A long story.", tone(3.0), pause_after=1)
        with self.call(story, Reply("Another.", tone(3.0), pause_after=1), Reply("Yes?")) as call:
            before = json.loads(json.dumps(self.talk.session))
            call.session.respond("Say the greeting.", interruptible=False)
            call.until(SoundPart)
            call.speak()
            call.until(CallerEnded)
            self.talk.go_on.set()
            assert call.until(ResponseEnded).status == "completed"
            self.talk.go_on.clear()
            heard = len(call.of(SoundPart))
            call.session.respond()  # what was said meanwhile
            call.until(SoundPart, heard + 1)
            assert self.talk.session == before
            call.speak()
            assert call.until(ResponseEnded, 2).status == "cancelled"
            assert call.until(ResponseEnded, 3).status == "completed"
        assert self.talk.errors == []

    def test_nothing_is_changed_while_the_caller_speaks(self):
        with self.call(Reply("A long story.", tone(3.0), pause_after=1)) as call:
            call.session.respond("Say the greeting.", interruptible=False)
            call.until(SoundPart)
            call.say(tone(0.5))
            call.until(CallerBegan)
            self.talk.go_on.set()
            call.until(ResponseEnded)
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
            assert len(self.sent("session.update")) == 2
            call.say(bytes(48000))
            call.until(CallerEnded)
            until(lambda: len(self.sent("session.update")) == 3)
            assert self.talk.session["audio"]["input"]["turn_detection"]["interrupt_response"]

    @pytest.mark.parametrize("shape", ["ga", "beta"])
    @pytest.mark.parametrize("type", ["server_vad", "semantic_vad"])
    def test_the_last_words_are_neither_interrupted_nor_answered(self, shape, type):
        self.server.shape = shape
        self.server.script = lambda asked: Reply("Goodbye.", tone(3.0), pause_after=1)
        with self.call(shape=shape, turn_detection=turns(type=type)) as call:
            before = json.loads(json.dumps(self.talk.session))
            call.session.respond("Say goodbye.", is_last=True)
            call.until(SoundPart)
            call.speak()
            call.until(CallerEnded)
            self.talk.go_on.set()
            assert call.until(ResponseEnded).status == "completed"
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
            heard = before["audio"]["input"] if shape == "ga" else before
            heard["turn_detection"] |= {"create_response": False, "interrupt_response": False}
            assert self.talk.session == before
        assert len(call.of(ResponseBegan)) == 1
        assert self.talk.errors == []

    def test_last_words_are_said_even_if_the_service_will_not_have_them_heard_out(self):
        with self.call(Reply("Goodbye.")) as call:
            self.server.refuses = "session.update"
            call.session.respond("Say goodbye.", is_last=True)
            assert call.until(ResponseEnded).status == "completed"
        assert self.talk.errors[0]["code"] == "unknown_parameter"

    def test_the_agent_speaks_up_after_silence_only_if_it_is_told_to(self):
        with self.call(turn_detection=turns(idle_timeout_ms=6000)):
            assert self.talk.session["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 6000
        with pytest.raises(ValueError, match="5000"):
            turns(idle_timeout_ms=100)

    def test_a_temperature_is_taken_and_never_sent(self, caplog):
        with caplog.at_level(logging.WARNING), self.call(temperature=0.6):
            assert "temperature" not in json.dumps(self.sent("session.update"))
        assert "temperature is not sent" in caplog.text

    def test_openai_never_sees_the_header_of_the_beta(self):
        with self.call(safety_identifier="installation-7"):
            (headers,) = self.server.headers
        assert "openai-beta" not in headers
        assert headers["authorization"] == f"Bearer {KEY}"
        assert headers["openai-safety-identifier"] == "installation-7"
        for url in ("wss://api.openai.com/v1/realtime", "wss://eu.api.openai.com/v1/realtime"):
            with pytest.raises(ValueError, match="shape"):
                OpenAiRealtimeOptions(url=url, shape="beta")

    def test_azure_gets_its_key_where_it_wants_it(self):
        with self.call(key_header="api-key"):
            assert self.server.headers[0]["api-key"] == KEY
            assert "authorization" not in self.server.headers[0]

    def test_the_key_of_openai_goes_to_openai_alone(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert self.refused(api_key_env="").blame == "setup"
        assert "authorization" not in self.server.headers[0]
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            OpenAiRealtime(OpenAiRealtimeOptions(), EngineContext())

    def test_an_address_with_the_model_in_it_is_taken_at_its_word(self):
        with self.call(url=f"{self.server.url}?model=gpt-realtime-1.5"):
            assert self.talk.session["model"] == "gpt-realtime-1.5"
        engine = self.make(url=f"{self.server.url}?model=gpt-realtime-1.5")
        assert engine.identity.name == "openai/gpt-realtime-1.5"
        with self.call(url=f"{self.server.url}?tenant=7"):
            assert self.talk.session["model"] == "gpt-realtime-mini"

    def test_the_environment_names_the_address(self):
        fields = {field.name: field for field in OpenAiRealtimeOptions.__dataclass_fields__.values()}
        assert fields["url"].metadata["env"] == "OPENAI_WS_URL"

    def test_a_dead_connection_is_found_by_pings_and_by_what_is_not_read(self):
        with self.call(ping_interval=7.0, ping_timeout=3.0) as call:
            connection = call.session._socket._connection
            assert (connection.ping_interval, connection.ping_timeout) == (7.0, 3.0)
            option = getattr(socket, "TCP_USER_TIMEOUT", None)
            if option is not None:
                assert connection.socket.getsockopt(socket.IPPROTO_TCP, option) == 10_000

    def test_an_update_that_is_rejected_is_a_mistake_of_the_setup(self):
        error = self.refused(voice="nobody")
        assert (error.blame, error.retryable, error.code) == ("setup", False, "invalid_value")
        assert "session.audio.output.voice" in str(error)

    def test_a_service_that_would_use_another_sound_is_refused(self):
        pcmu = {"type": "audio/pcmu"}
        self.server.effective = {"audio": {"input": {"format": pcmu}, "output": {"format": pcmu}}}
        error = self.refused()
        assert (error.blame, error.retryable) == ("setup", False)
        assert "session.audio.input.format" in str(error)

    def test_other_differences_are_told_by_name_alone(self, caplog):
        self.server.effective = {"instructions": "Be rude.", "tools": []}
        with caplog.at_level(logging.WARNING), self.call():
            pass
        assert "session.instructions, session.tools" in caplog.text
        assert "Be rude" not in caplog.text
        assert PROMPT not in caplog.text

    @pytest.mark.parametrize("format", [ULAW, ALAW])
    def test_a_g711_line_is_served_without_resampling(self, format):
        sound = tone(1.0, 400.0)
        law = "audio/pcmu" if format is ULAW else "audio/pcma"
        said = encoded(tone(0.5) + bytes(48000), law)
        with self.call(Reply("Good morning.", sound), brief=AgentBrief(PROMPT, format)) as call:
            call.say(said, 160)
            call.until(ResponseEnded)
        assert call.sound() == encoded(sound, law)
        assert self.talk.appended == -(-len(said) // 160)

    # Refused for good

    def test_a_service_that_refuses_the_beta_is_asked_once(self):
        error = self.refused(shape="beta")
        assert (error.blame, error.retryable, error.code) == ("setup", False, "beta_api_shape_disabled")
        assert self.server.connections == 1

    def test_a_model_that_is_gone_is_a_mistake_of_the_setup(self):
        self.server.models = frozenset({"gpt-realtime-2.1"})
        error = self.refused()
        assert (error.blame, error.retryable, error.code) == ("setup", False, "model_not_found")
        assert "gpt-realtime-mini" in str(error)

    def test_a_wrong_key_is_a_mistake_of_the_setup_and_not_shown(self, monkeypatch):
        monkeypatch.setenv(VARIABLE, "sk-wrong-0123456789abcdef")
        error = self.refused()
        assert (error.blame, error.retryable) == ("setup", False)
        assert "sk-wrong" not in str(error)

    def test_an_error_that_quotes_the_prompt_is_not_repeated(self):
        said = {"type": "error", "event_id": "x", "error": {
            "type": "invalid_request_error", "code": "invalid_value",
            "message": f"bad instructions: {PROMPT} and {HISTORY[0].content} {KEY}", "param": "session"}}  # fmt: skip
        self.server.trouble["open"] = lambda connection: connection.send(json.dumps(said))
        error = self.refused()
        assert "bad instructions" in str(error)
        assert "bakery" not in str(error)

    # Responses

    def test_two_responses_are_never_asked_for_at_once(self):
        with self.call(Reply("One.", tone(1.0)), Reply("Two."), Reply("Three.")) as call:
            call.session.respond("first")
            call.session.respond("never")
            call.session.respond("second")
            call.until(ResponseEnded, 2)
        assert self.talk.errors == []
        assert [event["response"]["instructions"] for event in self.sent("response.create")] == ["first", "second"]

    def test_a_greeting_that_begins_late_and_was_asked_for_again_meanwhile_is_said_once(self):
        with self.call(Reply("Hello."), Reply("Hello again.")) as call:
            at_once = self.talk._response_create
            self.talk._response_create = lambda event: gevent.spawn_later(0.02, at_once, event) and None
            call.session.respond("Say hello.")
            call.session.respond("Say hello.")
            call.until(ResponseEnded)
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
        assert len(self.sent("response.create")) == 1

    def test_a_response_that_crosses_with_the_service_s_own_is_asked_for_again(self):
        self.server.script = lambda asked: Reply("Yes?", tone(4.0), pause_after=1 if asked.why == "speech" else None)
        agent = self.make()
        session = agent.connect(AgentBrief(PROMPT, PCM))
        for at in range(0, 72000, 960):  # nobody reads what it says
            session.hear((tone(0.5) + bytes(48000))[at : at + 960])
        until(lambda: self.talk.speaking is not None)
        session.respond("Say goodbye.")
        until(lambda: self.talk.errors)
        assert self.talk.errors[0]["code"] == "conversation_already_has_active_response"
        call = Call(session)
        call.until(SoundPart)
        self.talk.go_on.set()
        call.until(ResponseEnded, 2)
        call.end()
        assert [event["response"]["instructions"] for event in self.sent("response.create")] == ["Say goodbye."] * 2

    def test_what_the_caller_is_saying_is_answered_once(self):
        with self.call(Reply("Yes?")) as call:
            call.say(tone(0.5))
            call.until(CallerBegan)
            call.session.respond()
            call.say(bytes(48000))
            call.until(ResponseEnded)
        assert self.sent("response.create") == []
        assert len(call.of(ResponseBegan)) == 1

    def test_what_the_caller_said_and_nobody_answered_is_answered_when_it_is_asked_for(self, monkeypatch):
        monkeypatch.setattr("esl_agent.providers.realtime_session.ANSWER", 0.05)
        with self.call(Reply("Yes?")) as call:
            self.talk._respond = lambda why: None  # a service that hears and does not answer
            call.speak()
            call.until(CallerEnded)
            call.session.respond()
            assert self.sent("response.create") == []
            del self.talk._respond
            while not call.of(ResponseEnded):  # the line goes on
                call.session.hear(bytes(960))
                gevent.sleep(0.005)
        assert len(self.sent("response.create")) == 1

    def test_a_response_that_is_refused_ends_as_it_would_have_failed(self):
        with self.call() as call:
            session = call.session
            self.server.script = None  # type: ignore[assignment]
            self.talk._response_create = lambda event: ("rate_limit_exceeded", f"not {PROMPT}", "")
            session.respond()
            ended = call.until(ResponseEnded)
        assert (ended.status, ended.error) == ("failed", "rate_limit_exceeded")
        assert call.of(ResponseBegan)[0].response == ended.response

    def test_a_failed_response_says_why_in_a_word(self):
        with self.call(Reply("x", status="failed", error=("insufficient_quota", f"You said {PROMPT}"))) as call:
            call.session.respond()
            ended = call.until(ResponseEnded)
            assert (ended.status, ended.error) == ("failed", "insufficient_quota")
            call.session.respond()
            assert call.until(ResponseEnded, 2).status == "completed"

    def test_an_answer_that_was_cut_by_its_limit_calls_nothing(self):
        with self.call(Reply("So", status="incomplete", calls=(Called("call_1", "order_status"),))) as call:
            call.session.respond()
            ended = call.until(ResponseEnded)
        assert (ended.status, ended.error, ended.calls) == ("incomplete", "max_output_tokens", ())

    def test_cancelling_what_is_over_is_not_even_asked(self):
        with self.call(Reply("One.")) as call:
            call.session.cancel("")
            call.session.respond()
            ended = call.until(ResponseEnded)
            call.session.cancel(ended.response)
            call.session.cancel("resp_unknown")
            call.session.tell("Pressed 1.")
            until(lambda: len(self.talk.received) > 2)
        assert self.sent("response.cancel") == []

    def test_a_cancellation_that_comes_too_late_is_no_error(self, caplog):
        with caplog.at_level(logging.INFO), self.call(Reply("One."), Reply("Two.")) as call:
            call.session.respond()
            call.until(ResponseEnded)
            call.session._reading.response = "resp_gone"
            call.session.cancel("resp_gone")
            until(lambda: self.talk.errors)
            call.session._reading.response = ""
            call.session.respond()
            call.until(ResponseEnded, 2)
        assert self.talk.errors[0]["code"] == "response_cancel_not_active"
        assert [record for record in caplog.records if record.name.startswith("esl_agent")] == []

    # What was heard

    def paused(self) -> Any:
        return self.call(Reply("A long story.", tone(8.0), pause_after=3), Reply("Yes?"))

    def test_a_story_is_cut_where_the_caller_stopped_listening(self):
        with self.paused() as call:
            call.session.respond()
            item = call.until(SoundPart, 3).item
            call.session.truncate(item, 0.1239)
            until(lambda: self.talk.truncated)
        assert self.talk.truncated == {item: 123}
        assert self.sent("conversation.item.truncate")[0]["content_index"] == 0

    def test_more_than_there_is_was_never_heard(self):
        with self.paused() as call:
            call.session.respond()
            item = call.until(SoundPart, 3).item
            received = len(call.sound(item)) // 48
            call.session.truncate(item, 99.0)
            until(lambda: self.talk.truncated)
        assert self.talk.truncated == {item: received}
        assert self.talk.errors == []

    def test_a_cut_is_never_to_nothing_nor_undone_nor_of_what_is_unknown(self):
        with self.paused() as call:
            call.session.respond()
            item = call.until(SoundPart, 3).item
            for id, heard in ((item, 0.0), (item, 0.0004), (item, -1.0), ("item_unknown", 1.0), ("", 1.0)):
                call.session.truncate(id, heard)
            call.session.truncate(item, 0.1)
            call.session.truncate(item, 0.2)
            call.session.truncate(item, 0.1)
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
        assert [event["audio_end_ms"] for event in self.sent("conversation.item.truncate")] == [100]
        assert self.talk.errors == []

    def test_what_was_heard_to_its_end_is_not_cut(self):
        with self.call(Reply("One.", tone(0.5))) as call:
            call.session.respond()
            ended = call.until(SoundEnded)
            call.until(ResponseEnded)
            call.session.truncate(ended.item, 0.5)
            call.session.truncate(ended.item, 7.0)
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
        assert self.sent("conversation.item.truncate") == []

    def test_an_item_of_which_nothing_was_heard_leaves_the_conversation(self):
        with self.call(Reply("First thing.", tone(1.0), more=("Second thing to say.",))) as call:
            call.session.respond()
            call.until(ResponseEnded)
            first, second = dict.fromkeys(part.item for part in call.of(SoundPart))
            call.session.truncate(first, 0.7)
            for item in (first, second, second, "item_unknown", ""):
                call.session.forget(item)
            call.session.truncate(second, 0.2)
            call.session.tell("Pressed 1.")
            until(lambda: self.sent("conversation.item.create"))
        assert [event["item_id"] for event in self.sent("conversation.item.delete")] == [second]
        assert first in self.talk.items
        assert second not in self.talk.items
        assert self.talk.truncated == {first: 700}
        assert self.talk.errors == []

    def test_an_item_that_the_service_has_lost_meanwhile_is_no_trouble(self, caplog):
        with self.call(Reply("First thing.")) as call, caplog.at_level(logging.WARNING):
            call.session.respond()
            call.until(ResponseEnded)
            item = call.of(SoundPart)[0].item
            del self.talk.items[item]
            call.session.forget(item)
            until(lambda: self.talk.errors)
        assert self.talk.errors[0]["code"] == "item_delete_invalid_item_id"
        assert call.error is None
        assert [record for record in caplog.records if record.name.startswith("esl_agent")] == []

    def test_each_item_of_a_response_is_counted_for_itself(self):
        with self.call(Reply("First thing.", tone(1.0), more=("Second thing to say.",))) as call:
            call.session.respond()
            call.until(ResponseEnded)
            first, second = dict.fromkeys(part.item for part in call.of(SoundPart))
            call.session.truncate(second, 0.2)
            call.session.truncate(first, 0.7)
            until(lambda: len(self.talk.truncated) == 2)
        assert self.talk.truncated == {second: 200, first: 700}
        assert self.talk.errors == []

    def test_a_g711_item_is_counted_in_its_own_bytes(self):
        with self.call(Reply("Hm.", tone(1.0)), brief=AgentBrief(PROMPT, ULAW)) as call:
            call.session.respond()
            item = call.until(SoundEnded).item
            call.session.truncate(item, 0.75)
            until(lambda: self.talk.truncated)
        assert self.talk.truncated == {item: 750}

    # Words and tokens

    def test_transcripts_that_come_out_of_order_belong_to_their_utterance(self):
        self.server.transcripts_held = 2
        with self.call(Reply("One."), Reply("Two.")) as call:
            call.speak()
            call.until(ResponseEnded)
            call.speak()
            call.until(CallerWords, 2)
        began = [part.item for part in call.of(CallerBegan)]
        assert [(part.item, part.text) for part in call.of(CallerWords)] == [
            (began[1], "utterance 2"),
            (began[0], "utterance 1"),
        ]

    def test_what_was_not_understood_is_told_as_nothing(self):
        self.server.caller_words = lambda number: None
        with self.call(Reply("Pardon?")) as call:
            call.speak()
            assert call.until(CallerWords).text == ""

    def test_tokens_of_sound_are_counted_apart_and_the_recogniser_for_itself(self):
        with self.call(Reply("One.", tone(1.0)), Reply("Two.", tone(1.0))) as call:
            call.speak()
            call.until(ResponseEnded)
            call.speak()
            call.until(ResponseEnded, 2)
            call.until(CallerWords, 2)
            until(lambda: len(call.of(UsagePart)) == 4)
        done = [event["response"]["usage"] for event in self.talk.sent if event["type"] == "response.done"]
        mine = [part.usage for part in call.of(UsagePart) if not part.name]
        assert [(use.input_tokens, use.output_tokens, use.audio_output_tokens) for use in mine] == [
            (use["input_tokens"], use["output_tokens"], use["output_token_details"]["audio_tokens"]) for use in done
        ]
        assert mine[0].audio_input_tokens > 0 == mine[0].cached_audio_tokens
        assert mine[1].cached_audio_tokens == done[0]["input_token_details"]["audio_tokens"]
        others = [part for part in call.of(UsagePart) if part.name]
        assert [part.name for part in others] == ["openai/gpt-live-transcribe"] * 2
        assert all(part.usage.seconds >= 1.0 and not part.usage.input_tokens for part in others)

    # Time

    def test_a_session_of_an_hour_is_over_and_another_may_be_made(self):
        now = [0.0]
        self.server.clock = lambda: now[0]
        with self.call() as call:
            now[0] = 3600.0
            call.session.hear(bytes(960))
            error = call.failed()
        assert (error.code, error.retryable, error.blame) == ("session_expired", True, "service")

    def test_an_error_about_one_message_leaves_the_call_alone(self, caplog):
        with caplog.at_level(logging.WARNING), self.call(Reply("Yes?")) as call:
            call.session.return_tools([("call_unknown", "the caller's secret")])
            until(lambda: self.talk.errors)
            call.session.respond()
            assert call.until(ResponseEnded).status == "completed"
        assert "invalid_tool_call_id item.call_id" in caplog.text
        assert "secret" not in caplog.text

    def test_events_that_nobody_knows_yet_are_passed_over(self):
        later = json.dumps({"type": "response.gesture.delta", "event_id": "x", "wave": True})
        self.server.trouble["sound"] = lambda connection: connection.send(later)
        with self.call(Reply("Yes?")) as call:
            call.speak()
            assert call.until(ResponseEnded).status == "completed"

    def test_half_a_character_from_a_caller_s_name_does_not_stop_the_call(self):
        brief = AgentBrief("Say hello to \ud83d.", PCM, (), (Message("user", "\udc00 hi"),))
        with self.call(Reply("Hello."), brief=brief) as call:
            call.session.tell("\ud800")
            call.session.respond()
            call.until(ResponseEnded)
        assert self.talk.errors == []

    def test_a_whole_conversation(self):
        persona = Persona("Bakery, good morning.", ("We open at seven.", "Two left.", "Goodbye."))
        self.server.script = persona
        with self.call() as call:
            call.session.respond()
            call.until(ResponseEnded)
            for number in range(3):
                call.speak()
                call.until(ResponseEnded, number + 2)
        said = [item["content"][0]["transcript"] for item in self.talk.items.values() if item["role"] == "assistant"]
        assert said == ["Bakery, good morning.", "We open at seven.", "Two left.", "Goodbye."]
        assert self.talk.errors == []


class TestALocalServerOfBefore(Realtime):
    """``shape: beta``"""

    def serving(self) -> PretendRealtime:
        return PretendRealtime(shape="beta")

    def make(self, **options: Any) -> OpenAiRealtime:
        return super().make(**{"shape": "beta", **options})

    def test_it_is_asked_in_its_own_words(self):
        with self.call(brief=AgentBrief(PROMPT, ULAW, (TOOL,)), temperature=0.7, voice="alloy"):
            (update,) = self.sent("session.update")
        assert self.server.headers[0]["openai-beta"] == "realtime=v1"
        assert update["session"]["modalities"] == ["text", "audio"]
        assert update["session"]["input_audio_format"] == update["session"]["output_audio_format"] == "g711_ulaw"
        assert update["session"]["temperature"] == 0.7
        assert "type" not in update["session"]

    def test_one_who_asks_in_today_s_words_is_refused_as_a_mistake_of_the_setup(self):
        assert self.refused(shape="ga").code == "missing_beta_header"


def test_options_are_checked_with_their_place():
    from esl_agent.config.source import Document

    problems: list[str] = []
    assert validate(OpenAiRealtimeOptions, Document({"turn_detection": {"threshold": 7}}), problems) is None
    assert "threshold" in problems[0]


def test_a_caller_who_hangs_up_while_the_agent_is_silent_is_let_go(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    with PretendRealtime() as server:
        agent = OpenAiRealtime(OpenAiRealtimeOptions(url=server.url, api_key_env=VARIABLE), EngineContext())
        calls = [Call(agent.connect(AgentBrief(PROMPT, PCM))) for _ in range(5)]
        gevent.joinall([gevent.spawn(call.end) for call in calls], timeout=5.0)
        assert all(call.error is None for call in calls)
        until(lambda: not server.open_connections)


def test_a_provider_error_is_all_that_a_dead_session_raises(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    with PretendRealtime() as server:
        agent = OpenAiRealtime(OpenAiRealtimeOptions(url=server.url, api_key_env=VARIABLE), EngineContext())
        session = agent.connect(AgentBrief(PROMPT, PCM))
        server.trouble["sound"] = lambda connection: connection.close(1011)
        session.hear(bytes(960))
        call = Call(session)
        call.failed()
        for late in (
            lambda: session.hear(b"xx"),
            lambda: session.tell("x"),
            lambda: session.return_tools([("a", "b")]),
        ):
            with pytest.raises(ProviderError):
                late()
        call.end()
