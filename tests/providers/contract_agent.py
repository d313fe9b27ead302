"""What every speech-to-speech agent promises: what is said is heard, to the sample; who is interrupted stops; nothing
that the service does is anything but a part or a ProviderError."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from esl_agent.audio.pcm import SoundFormat
from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.errors import ProviderError
from esl_agent.providers.base import (
    AgentBrief,
    AgentPart,
    CallerBegan,
    CallerEnded,
    CallerWords,
    ResponseBegan,
    ResponseEnded,
    SoundEnded,
    SoundPart,
    WordsPart,
)
from esl_agent.testing.pretend_realtime import Called, PretendRealtime, Reply, tone
from esl_agent.testing.web import drop
from tests.providers.contract_stt import LET_GO, NONSENSE, PATIENCE, until

TOOL = ToolSpec("order_status", "Look up an order", {"type": "object", "properties": {"id": {"type": "string"}}})
PROMPT = "You answer the telephone of a small bakery in Bristol."
HISTORY = (Message("user", "Do you have rye bread?"), Message("assistant", "We have two left."))


class Call:
    """A session with somebody who reads its parts."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.parts: list[AgentPart] = []
        self.error: ProviderError | None = None
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        try:
            for part in self.session.parts():
                self.parts.append(part)
        except ProviderError as error:
            self.error = error

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [part for part in self.parts if isinstance(part, kinds)]

    def until(self, kind: type[Any], count: int = 1) -> Any:
        """The ``count``-th part of ``kind``."""
        until(lambda: len(self.of(kind)) >= count or self.error is not None)
        assert len(self.of(kind)) >= count, (self.error, self.parts)
        return self.of(kind)[count - 1]

    def failed(self) -> ProviderError:
        until(lambda: self.error is not None)
        assert self.error is not None
        return self.error

    def sound(self, item: str = "") -> bytes:
        return b"".join(part.sound for part in self.of(SoundPart) if item in ("", part.item))

    def say(self, pcm: bytes, frame: int = 960) -> None:
        """The caller's sound, as fast as it goes out."""
        for at in range(0, len(pcm), frame):
            self.session.hear(pcm[at : at + frame])

    def speak(self) -> None:
        """Half a second of voice, and silence that ends it."""
        self.say(tone(0.5) + bytes(48000))

    def end(self) -> None:
        self.session.close()
        self._reader.join(LET_GO)
        assert self._reader.dead


class AgentContract:
    """``server`` is a started PretendRealtime, ``make()`` an agent that asks it."""

    secret = ""
    server: PretendRealtime

    def make(self, **options: Any) -> Any:
        raise NotImplementedError

    @contextmanager
    def call(self, *replies: Reply, brief: AgentBrief | None = None, **options: Any) -> Iterator[Call]:
        if replies:
            self.server.script = _script(replies)
        agent = self.make(**options)
        call = Call(agent.connect(brief or AgentBrief(PROMPT, agent.formats[0], (TOOL,))))
        try:
            yield call
        finally:
            call.end()

    def refused(self, **options: Any) -> ProviderError:
        """How connecting fails."""
        agent = self.make(**options)
        brief = AgentBrief(PROMPT, agent.formats[0], (TOOL,), HISTORY)
        with pytest.raises(ProviderError) as caught, gevent.Timeout(PATIENCE):
            agent.connect(brief)
        assert caught.value.stage == "agent"
        for secret in (self.secret, PROMPT, HISTORY[0].content):
            assert secret not in str(caught.value)
        return caught.value

    # How it hears and speaks

    def test_the_caller_is_heard_to_the_sample(self):
        pcm = tone(1.0)[:-2] + b"\x01\x02"
        with self.call() as call:
            call.say(pcm)
            until(lambda: len(self.server.sessions[0].heard) >= len(pcm))
        assert self.server.sessions[0].heard == pcm

    def test_the_agent_s_sound_comes_whole_and_in_order(self):
        sound = tone(1.7, 333.0)
        with self.call(Reply("Good morning.", sound)) as call:
            call.session.respond()
            call.until(ResponseEnded)
        assert call.sound() == sound
        assert all(len(part.sound) % 2 == 0 for part in call.of(SoundPart))
        assert "".join(part.text for part in call.of(WordsPart)).strip() == "Good morning."
        kinds = [type(part) for part in call.parts]
        assert kinds[0] is ResponseBegan
        assert kinds.index(SoundEnded) < kinds.index(ResponseEnded)

    def test_an_utterance_is_answered_by_itself_and_written_down(self):
        with self.call(Reply("We open at seven.")) as call:
            call.speak()
            ended, words = call.until(ResponseEnded), call.until(CallerWords)
        assert ended.status == "completed"
        assert (words.item, words.text) == (call.of(CallerBegan)[0].item, "utterance 1")
        kinds = [type(part) for part in call.parts]
        assert kinds[:3] == [CallerBegan, CallerEnded, ResponseBegan]

    def test_each_response_that_begins_ends_once(self):
        with self.call(Reply("One.", more=("Two.", "Three.")), Reply("Four.")) as call:
            call.session.respond()
            call.until(ResponseEnded)
            call.session.respond("Say four.")
            call.until(ResponseEnded, 2)
        assert [part.response for part in call.of(ResponseBegan)] == [part.response for part in call.of(ResponseEnded)]
        assert len({part.item for part in call.of(SoundPart)}) == 4

    def test_a_caller_who_speaks_over_the_agent_stops_it(self):
        with self.call(Reply("A long story.", tone(8.0), pause_after=2), Reply("Yes?")) as call:
            call.session.respond()
            call.until(SoundPart, 2)
            call.speak()
            first, second = call.until(ResponseEnded), call.until(ResponseEnded, 2)
        assert (first.status, second.status) == ("cancelled", "completed")
        kinds = [type(part) for part in call.parts]
        assert kinds.index(CallerBegan) < kinds.index(ResponseEnded)

    def test_sound_that_comes_after_the_interruption_still_names_its_response(self):
        with self.call(Reply("A long story.", tone(8.0), pause_after=2, late=3), Reply("Yes?")) as call:
            call.session.respond()
            began = call.until(ResponseBegan)
            call.until(SoundPart, 2)
            call.session.cancel(began.response)
            call.until(ResponseEnded)
        assert [part.response for part in call.of(SoundPart)] == [began.response] * 5

    # Tools

    def test_a_tool_is_called_once_its_response_is_complete_and_answered_with_the_result(self):
        calls = (Called("call_1", "order_status", {"id": "7"}), Called("call_2", "order_status", {"id": "8"}))
        with self.call(Reply("Let me see.", calls=calls), Reply("It is shipped.")) as call:
            call.speak()
            ended = call.until(ResponseEnded)
            assert ended.calls == (
                ToolCall("call_1", "order_status", {"id": "7"}),
                ToolCall("call_2", "order_status", {"id": "8"}),
            )
            call.session.return_tools([("call_1", '{"state":"shipped"}'), ("call_2", "")])
            call.session.respond()
            call.until(ResponseEnded, 2)
        talk = self.server.sessions[0]
        outputs = [item for item in talk.items.values() if item["type"] == "function_call_output"]
        assert [(item["call_id"], item["output"]) for item in outputs] == [
            ("call_1", '{"state":"shipped"}'),
            ("call_2", ""),
        ]
        assert talk.errors == []

    def test_what_an_interrupted_response_called_is_not_done(self):
        reply = Reply("Let me see.", tone(5.0), pause_after=1, calls=(Called("call_1", "order_status"),))
        with self.call(reply, Reply("Yes?")) as call:
            call.session.respond()
            call.until(SoundPart)
            call.speak()
            ended = call.until(ResponseEnded)
        assert (ended.status, ended.calls) == ("cancelled", ())

    def test_what_was_said_before_is_known(self):
        agent = self.make()
        with self.call(brief=AgentBrief(PROMPT, agent.formats[0], (), HISTORY)):
            items = list(self.server.sessions[0].items.values())
        assert [(item["role"], item["content"][0]["text"]) for item in items] == [
            ("user", "Do you have rye bread?"),
            ("assistant", "We have two left."),
        ]

    # How it ends

    def test_a_session_that_is_closed_ends_its_parts_without_complaint_and_twice_is_once(self):
        with self.call() as call:
            call.session.close()
            call.session.close()
            for late in (
                lambda: call.session.hear(bytes(960)),
                lambda: call.session.respond(),
                lambda: call.session.tell("x"),
                lambda: call.session.cancel("x"),
            ):
                late()
        assert call.error is None
        until(lambda: not self.server.open_connections, LET_GO)

    def test_a_call_that_is_over_is_freed_at_once(self):
        with self.call(Reply("Hello.")) as call:
            call.session.respond()
            call.until(ResponseEnded)
        ref = weakref.ref(call.session)
        gc.collect()
        gc.disable()
        try:
            del call
            until(lambda: ref() is None, LET_GO)
        finally:
            gc.enable()

    def test_one_who_hangs_up_while_it_is_connected_leaves_nothing_open(self):
        self.server.trouble["open"] = self.server.stall
        agent = self.make()
        worker = gevent.spawn(agent.connect, AgentBrief(PROMPT, agent.formats[0]))
        until(lambda: self.server.open_connections and not self.server.trouble)
        worker.kill(timeout=LET_GO)
        assert worker.dead
        self.server._stopping.set()
        until(lambda: not self.server.open_connections, LET_GO)

    @pytest.mark.parametrize(
        ("status", "retryable", "blame"),
        [
            (401, False, "setup"),
            (403, False, "setup"),
            (404, False, "setup"),
            (429, True, "service"),
            (503, True, "service"),
        ],
    )
    def test_a_refused_handshake_says_whether_to_try_again_and_whom_to_blame(self, status, retryable, blame):
        self.server.refuse = (status, f'{{"error":{{"code":"no","message":"not with {self.secret}"}}}}'.encode())
        error = self.refused()
        assert (error.retryable, error.blame) == (retryable, blame)

    @pytest.mark.parametrize("end", [drop, lambda connection: connection.close(1001), lambda c: c.close(1011)])
    @pytest.mark.parametrize("point", ["open", "update"])
    def test_a_connection_that_breaks_while_it_is_made_may_pass(self, point, end):
        self.server.trouble[point] = end
        error = self.refused()
        assert (error.retryable, error.blame) == (True, "service")

    def test_an_agent_that_dies_in_the_middle_of_a_word_is_gone_at_once(self):
        with self.call(Reply("A long story.", tone(8.0), drop_after=3)) as call:
            call.session.respond()
            error = call.failed()
        assert (error.retryable, error.blame) == (True, "service")
        assert call.of(SoundPart)

    @pytest.mark.parametrize(
        "end", [lambda c: c.close(1000), lambda c: c.close(1001), lambda c: c.close(1011)], ids=["1000", "1001", "1011"]
    )
    def test_a_service_that_hangs_up_first_is_an_error_that_may_pass(self, end):
        self.server.trouble["sound"] = end
        with self.call() as call:
            call.session.hear(bytes(960))
            assert call.failed().retryable

    @pytest.mark.parametrize("message", NONSENSE, ids=range(len(NONSENSE)))
    def test_nonsense_is_an_error_of_the_service(self, message):
        self.server.trouble["sound"] = lambda connection: connection.send(message)
        with self.call() as call:
            call.session.hear(bytes(960))
            error = call.failed()
        assert (error.retryable, error.blame) == (True, "service")

    @pytest.mark.parametrize("message", NONSENSE, ids=range(len(NONSENSE)))
    def test_nonsense_in_place_of_a_welcome_is_an_error_of_the_service(self, message):
        self.server.trouble["open"] = lambda connection: connection.send(message)
        assert self.refused().blame == "service"

    def test_a_service_that_does_not_answer_is_given_up(self):
        self.server.trouble["open"] = self.server.stall
        error = self.refused(timeout=0.1)
        assert (error.retryable, error.blame) == (True, "service")

    def test_a_message_of_any_size_is_no_harm(self):
        self.server.trouble["sound"] = lambda connection: connection.send('{"type":"' + "x" * 17 * 2**20 + '"}')
        with self.call() as call:
            call.session.hear(bytes(960))
            call.failed()

    def test_an_agent_that_cannot_be_reached_may_pass(self):
        for url in ("ws://no-such-host.invalid/x", "ws://127.0.0.1:9/x"):
            error = self.refused(url=url)
            assert (error.retryable, error.blame) == (True, "service")

    def test_a_format_that_it_does_not_have_is_a_mistake_of_the_setup(self):
        with pytest.raises(ProviderError) as caught:
            self.make().connect(AgentBrief(PROMPT, SoundFormat("pcm", 11025)))
        assert caught.value.blame == "setup"
        assert not self.server.connections


def _script(replies: tuple[Reply, ...]) -> Callable[[Any], Reply]:
    left = list(replies)
    return lambda asked: left.pop(0) if left else Reply("And so on.")
