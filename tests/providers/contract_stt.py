"""What every recogniser promises that asks a service: how it hears, how it is let go, and how it fails."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import gevent
import numpy as np
import pytest
from gevent.event import Event

from esl_agent.errors import ProviderError
from esl_agent.providers import utterance
from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.testing.ears import PretendEars
from esl_agent.testing.web import drop

#: Seconds that anything here may take.
PATIENCE = 10.0
#: Seconds in which a recogniser that is let go has let go of its connection: one to close it, and a busy machine.
LET_GO = 3.0
PHRASES = ("opening hours", "yes please")
ENGLISH = EngineContext("en-GB", PHRASES)


def tone(seconds: float, rate: int = 16000) -> bytes:
    """Sound of which no two samples in a row are the same, so that nothing can be lost or doubled unseen."""
    count = int(seconds * rate)
    wave = 6000 * np.sin(2 * np.pi * 440 * np.arange(count) / rate) + np.arange(count) % 97 + 100
    return wave.astype("<i2").tobytes()


def frames(pcm: bytes, rate: int = 16000) -> list[bytes]:
    size = rate // 50 * 2
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


class Speaking:
    """An utterance that goes on until ``end``; ``readers`` are those that have not come to its end."""

    def __init__(self, pcm: bytes = b"") -> None:
        self._pieces = frames(pcm)
        self._more = Event()
        self._is_over = False
        self.readers = 0

    def say(self, pcm: bytes) -> None:
        self._pieces += frames(pcm)
        self._wake()

    def end(self) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        waited, self._more = self._more, Event()
        waited.set()

    def __iter__(self) -> Iterator[bytes]:
        self.readers += 1
        at = 0
        try:
            while True:
                while at < len(self._pieces):
                    at += 1
                    yield self._pieces[at - 1]
                if self._is_over:
                    return
                self._more.wait()
        finally:
            self.readers -= 1


def until(condition: Any, patience: float = PATIENCE) -> None:
    with gevent.Timeout(patience):
        while not condition():
            gevent.sleep(0.001)


class RecogniserProviderContract:
    """``server`` is a started pretend service, ``make()`` an engine that asks it."""

    #: What the service takes sound at, or 0: at the call's own rate.
    rate = 0
    secret = ""
    #: Whether a connection may be kept that is let go of between two requests.
    keeps = False

    server: Any

    def make(self, context: EngineContext = ENGLISH) -> Any:
        raise NotImplementedError

    def arrived(self) -> list[bytes]:
        """The sound of each utterance as the service got it, PCM16."""
        raise NotImplementedError

    def last_arrived(self, pcm: bytes) -> bytes:
        """The sound of the newest utterance, which was ``pcm``."""
        return self.arrived()[-1]

    def recognised(self, *pieces: bytes, rate: int = 16000, engine: Any = None) -> list[Transcript]:
        with gevent.Timeout(PATIENCE):
            return list((engine or self.make()).recognise(iter(pieces), rate))

    def failed(self, audio: Iterable[bytes] = ()) -> ProviderError:
        with pytest.raises(ProviderError) as caught, gevent.Timeout(PATIENCE):
            list(self.make().recognise(iter(audio or frames(tone(1.6))), 16000))
        if self.secret:
            assert self.secret not in str(caught.value)
            assert self.secret not in caught.value.code
        assert caught.value.stage == "stt"
        return caught.value

    # How it hears

    def test_an_utterance_has_exactly_one_final_transcript_and_it_is_the_last(self) -> None:
        found = self.recognised(*frames(tone(1.6)))
        assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
        assert found[-1].text == "one two three four"

    def test_every_partial_transcript_is_news(self) -> None:
        found = [each.text for each in self.recognised(*frames(tone(3.0))) if not each.final]
        assert all(one != other for one, other in pairwise(found))
        assert "" not in found
        assert [len(text) for text in found] == sorted(len(text) for text in found)

    @pytest.mark.parametrize("pieces", [(), (b"",), (b"", b"")])
    def test_an_utterance_without_sound_is_asked_of_nobody(self, pieces) -> None:
        assert self.recognised(*pieces) == [Transcript("", final=True)]
        assert self.arrived() == []

    def test_silence_is_heard_and_not_understood(self) -> None:
        found = self.recognised(bytes(32000))
        assert [(each.text, each.final) for each in found] == [("", True)]
        assert len(self.arrived()) == 1

    @pytest.mark.parametrize("sizes", [(1, 1000, 3, 0, 7777), (640,), (32001,)])
    def test_sound_in_pieces_of_any_length_arrives_to_the_sample(self, sizes) -> None:
        pcm, at, pieces = tone(1.6), 0, []
        while at < len(pcm):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(pcm[at : at + size])
            at += size
        self.recognised(*pieces)
        assert self.arrived() == [pcm]

    def test_half_a_sample_at_the_end_is_dropped(self) -> None:
        pcm = tone(1.6)
        self.recognised(pcm + b"\x01")
        assert self.arrived() == [pcm]

    def test_sound_of_a_narrow_call_arrives_as_the_service_wants_it(self) -> None:
        pcm = tone(1.6, 8000)
        self.recognised(*frames(pcm, 8000), rate=8000)
        (got,) = self.arrived()
        if self.rate in (0, 8000):
            assert got == pcm
            return
        assert len(got) == len(pcm) * 2
        jumps = np.abs(np.diff(np.frombuffer(got, "<i2").astype(int)))[200:]
        assert jumps.max() < 2500  # no seam between two pieces

    def test_an_utterance_that_never_ends_is_cut(self, monkeypatch) -> None:
        monkeypatch.setattr(utterance, "MAX_SECONDS", 2.0)
        pcm = tone(3.2)
        found = self.recognised(*frames(pcm))
        assert (found[-1].final, found[-1].text) == (True, "one two three four five")
        assert self.arrived()[-1] == pcm[:64000]

    def test_utterances_one_after_the_other_have_nothing_in_common(self) -> None:
        engine = self.make()
        for count, text in ((4, "one two three four"), (3, "one two three"), (5, "one two three four five")):
            pcm = tone(count * 0.4)
            assert self.recognised(*frames(pcm), engine=engine)[-1].text == text
            assert self.last_arrived(pcm) == pcm

    def test_calls_at_the_same_time_hear_only_themselves(self) -> None:
        engine = self.make()
        tasks = [gevent.spawn(self.recognised, *frames(tone(n * 0.4)), engine=engine) for n in (3, 4, 5)]
        with gevent.Timeout(PATIENCE):
            gevent.joinall(tasks, raise_error=True)
        texts = [task.value[-1].text for task in tasks]
        assert texts == ["one two three", "one two three four", "one two three four five"]

    # How it is let go

    @pytest.mark.parametrize("how", ["killed", "closed"])
    def test_a_recogniser_that_is_let_go_lets_go_of_everything(self, how) -> None:
        speaking = Speaking(tone(3.0))
        transcripts = self.make().recognise(iter(speaking), 16000)
        found: list[Transcript] = []
        worker = gevent.spawn(lambda: found.extend(transcripts))
        until(lambda: speaking.readers)
        if self.make().streaming:
            until(self.arrived)
        gevent.sleep(0.02)
        if how == "killed":
            worker.kill(timeout=LET_GO)
        else:
            worker.kill(block=False)
            transcripts.close() if worker.dead else worker.join(LET_GO)
        assert worker.dead
        del worker  # its traceback holds sound that nobody reads any more
        gc.collect()
        speaking.end()
        until(lambda: self.keeps or not self.server.open_connections, LET_GO)
        until(lambda: not speaking.readers, LET_GO)

    def test_a_recogniser_killed_before_the_caller_has_said_anything_lets_go(self) -> None:
        speaking = Speaking()
        worker = gevent.spawn(list, self.make().recognise(iter(speaking), 16000))
        until(lambda: speaking.readers)
        worker.kill(timeout=LET_GO)
        assert worker.dead
        speaking.end()
        until(lambda: not speaking.readers, LET_GO)

    # How it fails

    def test_a_host_that_does_not_exist_and_a_closed_port_may_pass(self) -> None:
        for url in ("no-such-host.invalid", "127.0.0.1:9"):
            with pytest.raises(ProviderError) as caught:
                self.recognised(*frames(tone(1.6)), engine=self.make_at(url))
            assert (caught.value.retryable, caught.value.blame) == (True, "service")

    def make_at(self, host: str) -> Any:
        raise NotImplementedError


#: (what a service says, whether it is worth another try, whom it blames)
REFUSALS = [
    (400, False, "request"),
    (401, False, "setup"),
    (402, False, "setup"),
    (429, True, "service"),
    (500, True, "service"),
    (503, True, "service"),
]


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
