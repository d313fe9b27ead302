"""What every voice behind a network promises, beyond what every voice does. A new one subclasses ``HttpVoiceContract``
or ``SocketVoiceContract``, and says how its pretend service and itself are made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import gevent
import pytest

from esl_agent.errors import ProviderError
from esl_agent.testing.pretend_speech import SocketFault, endless, odd_pieces, ramp
from esl_agent.testing.web import FOREVER, Fault, PretendHttp, Reply
from tests.providers.contract import TextToSpeechContract
from tests.providers.contract_llm import self_signed

TEXT = "Your table is booked for seven. See you on Friday!"
NO_KEY = "no key at all"
#: Seconds after which a test has failed; nothing waits as long.
DEADLINE = 3.0


class VoiceProviderContract(TextToSpeechContract):
    KEY = NO_KEY

    def pretend(self) -> AbstractContextManager[Any]:
        """The service, not started yet."""
        raise NotImplementedError

    def at(self, url: str) -> Any:
        """The voice, with its service at ``url``."""
        raise NotImplementedError

    def server(self) -> Any:
        """What of the pretend service has ``url`` and ``open_connections``."""
        return self.service

    def make(self) -> Any:
        return self.at(self.server().url)

    @pytest.fixture(autouse=True)
    def _service(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.WARNING, "websockets")  # as the service has it: below it tells headers
        with gevent.Timeout(30.0), self.pretend() as self.service:
            yield
        assert self.KEY not in caplog.text

    def failure(self, voice: Any) -> ProviderError:
        with gevent.Timeout(DEADLINE), pytest.raises(ProviderError) as caught:
            list(voice.speak(TEXT))
        assert caught.value.stage == "tts"
        assert self.KEY not in str(caught.value)
        assert self.KEY not in repr(caught.value)
        return caught.value

    def all_closed(self) -> None:
        with gevent.Timeout(DEADLINE):
            while self.server().open_connections:
                gevent.sleep(0.002)

    def test_sound_comes_in_order_and_bit_for_bit_however_the_network_cuts_it(self) -> None:
        voice = self.make()
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, voice.rate)
        assert self.service.said == [TEXT]

    def test_two_clauses_at_once_are_not_mixed_up(self) -> None:
        voice = self.make()
        texts = [f"Clause number {n} of this turn." for n in range(4)]
        spoken = [gevent.spawn(lambda text=text: b"".join(voice.speak(text))) for text in texts]
        gevent.joinall(spoken, timeout=DEADLINE)
        assert [each.value for each in spoken] == [ramp(text, voice.rate) for text in texts]

    def test_words_of_every_script_arrive_as_they_were_written(self) -> None:
        for text in ("Merhaba, nasıl yardımcı olabilirim?", "Здравствуйте", '{"a": 1} & <b>?=%20#', "您好 😀"):
            list(self.make().speak(text))
            assert self.service.said[-1] == text

    def test_a_voice_that_nobody_wants_any_more_closes_its_connection(self) -> None:
        self.service.cut = lambda data: endless(data, gevent.sleep)
        speaking = self.make().speak(TEXT)
        assert next(speaking)
        assert self.server().open_connections
        speaking.close()
        self.all_closed()

    def test_a_killed_worker_closes_its_connection(self) -> None:
        self.service.cut = lambda data: endless(data, gevent.sleep)
        began = gevent.event.Event()

        def work() -> None:
            for _ in self.make().speak(TEXT):
                began.set()

        worker = gevent.spawn(work)
        began.wait(DEADLINE)
        with gevent.Timeout(DEADLINE):
            worker.kill()
        self.all_closed()

    def test_a_voice_that_does_not_stop_is_stopped(self) -> None:
        self.service.cut = lambda data: endless(data * 20, lambda _: gevent.sleep(0), 0)
        error = self.failure_of_long()
        assert not error.retryable
        self.all_closed()

    def failure_of_long(self) -> ProviderError:
        with gevent.Timeout(20.0), pytest.raises(ProviderError, match=r"more than|WAV") as caught:
            list(self.make().speak(TEXT))
        return caught.value

    def test_nobody_there_is_worth_another_try(self) -> None:
        scheme = self.server().url.partition("://")[0]
        for host in ("127.0.0.1:9", "no-such-host.invalid"):
            error = self.failure(self.at(f"{scheme}://{host}"))
            assert (error.retryable, error.blame) == (True, "service")

    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[str, str]:
        return self_signed(tmp_path)

    def test_a_server_nobody_vouches_for_is_told_nothing(self, certificate: tuple[str, str]) -> None:
        with PretendHttp(certificate) as stranger:
            scheme = "wss" if self.server().url.startswith("ws") else "https"
            error = self.failure(self.at(f"{scheme}://{stranger.url.partition('://')[2]}"))
            assert (error.retryable, error.blame) == (False, "setup")
            assert stranger.requests == []

    def test_whose_account_it_is_can_be_told_but_not_the_key(self) -> None:
        identity = self.make().identity
        assert self.KEY not in identity.account + identity.name + self.make().voice
        assert self.server().url.rpartition("/")[2] in identity.account


HTTP_FAULTS = [
    (Fault(close_before=True), True, "service"),
    (Fault(close_before=True, reset=True), True, "service"),
    (Fault(close_after=3001), True, "service"),
    (Fault(close_after=3001, reset=True), True, "service"),
    (Fault(instead=Reply(b"", content_type="audio/wav")), True, "service"),
    (Fault(instead=Reply(b"<html>a tunnel's warning", content_type="text/html")), True, "service"),
    (Fault(instead=Reply.json({"error": {"message": "something went wrong"}})), True, "service"),
    (Fault(instead=Reply(b"<html>bad gateway", 502, "text/html")), True, "service"),
    (Fault(instead=Reply(b"overloaded", 529, "text/plain")), True, "service"),
    (Fault(instead=Reply.json({"error": {"code": "rate_limit_exceeded", "message": "slow"}}, 429)), True, "service"),
    (Fault(instead=Reply.json({"error": {"code": "insufficient_quota", "message": "pay"}}, 429)), False, "setup"),
    (Fault(instead=Reply.json({"error": {"message": "payment required"}}, 402)), False, "setup"),
    (Fault(instead=Reply.json({"detail": [{"loc": ["body", "text"], "msg": "too bad"}]}, 422)), False, "request"),
    (Fault(instead=Reply.json({"detail": "too long"}, 413)), False, "request"),
]


class HttpVoiceContract(VoiceProviderContract):
    def ready(self) -> Any:
        """A voice that has asked for what it asks for once."""
        return self.make()

    @pytest.mark.parametrize(("fault", "retryable", "blame"), HTTP_FAULTS)
    def test_every_fault_says_whether_to_try_again_and_whom_to_blame(self, fault, retryable, blame) -> None:
        voice = self.ready()
        before = len(self.server().requests)
        self.server().faults.append(fault)
        error = self.failure(voice)
        assert (error.retryable, error.blame) == (retryable, blame)
        assert len(self.server().requests) == before + 1  # trying again is not its business

    def test_the_key_is_not_told_even_if_the_server_repeats_it(self) -> None:
        if self.KEY == NO_KEY:
            pytest.skip("this service asks for none")
        voice = self.ready()
        refusal = {"error": {"code": self.KEY, "message": f"the key {self.KEY} is wrong"}}
        self.server().faults.append(Fault(instead=Reply.json(refusal, 401)))
        assert self.failure(voice).blame == "setup"

    def test_half_a_sample_at_the_end_is_dropped(self) -> None:
        voice = self.ready()
        cut = self.service.cut
        self.service.cut = lambda data: [*(cut(data) if cut is odd_pieces else [data]), b"\x7f"]
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, voice.rate)

    @pytest.mark.parametrize("fault", [Fault(before=FOREVER), Fault(after_first=FOREVER)])
    def test_a_voice_that_stalls_can_be_given_up(self, fault) -> None:
        voice = self.ready()
        self.server().faults.append(fault)
        with gevent.Timeout(DEADLINE), pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05):
            list(voice.speak(TEXT))
        assert caught.value.seconds == 0.05
        assert list(voice.speak(TEXT))

    def test_a_call_that_begins_finds_a_connection_ready(self) -> None:
        voice = self.ready()
        if not hasattr(voice, "prepare"):
            pytest.skip("a server near by, which is connected to in no time")
        voice.prepare()
        list(voice.speak(TEXT))
        assert [request.connection for request in self.server().requests] == [1, 1]

    def test_the_next_clause_uses_the_same_connection(self) -> None:
        voice = self.ready()
        for _ in range(3):
            list(voice.speak(TEXT))
        assert len({request.connection for request in self.server().requests[-3:]}) == 1


SOCKET_FAULTS = [
    (SocketFault(drop=True), True, "service"),
    (SocketFault(after=3, drop=True), True, "service"),
    (SocketFault(close=(1011, "internal error")), True, "service"),
    (SocketFault(after=3, close=(1013, "try again later")), True, "service"),
    (SocketFault(close=(1000, "")), True, "service"),
    (SocketFault(say="<html>"), True, "service"),
    (SocketFault(say="[1]"), True, "service"),
    (SocketFault(say=b"\xff\x00"), True, "service"),
]


class SocketVoiceContract(VoiceProviderContract):
    def server(self) -> Any:
        return self.service.websocket

    @pytest.mark.parametrize(("fault", "retryable", "blame"), SOCKET_FAULTS)
    def test_every_fault_says_whether_to_try_again_and_whom_to_blame(self, fault, retryable, blame) -> None:
        self.service.faults.append(fault)
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (retryable, blame)
        self.all_but_spare_closed()

    def all_but_spare_closed(self) -> None:
        with gevent.Timeout(DEADLINE):
            while self.server().open_connections > 1:
                gevent.sleep(0.002)

    @pytest.mark.parametrize("after", [0, 2])
    def test_a_voice_that_stalls_can_be_given_up(self, after) -> None:
        self.service.faults.append(SocketFault(after=after, stall=True))
        voice = self.make()
        with gevent.Timeout(DEADLINE), pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.1):
            list(voice.speak(TEXT))
        assert caught.value.seconds == 0.1
        self.all_but_spare_closed()
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, voice.rate)

    @pytest.mark.parametrize(("status", "blame"), [(401, "setup"), (402, "setup"), (429, "service"), (503, "service")])
    def test_a_refused_handshake_says_whom_to_blame(self, status, blame) -> None:
        self.server().refuse = (status, f'{{"message": "no {self.KEY}"}}'.encode())
        error = self.failure(self.make())
        assert (error.retryable, error.blame) == (blame == "service", blame)

    def test_a_socket_that_died_while_it_waited_costs_nothing(self) -> None:
        voice = self.make()
        voice.prepare()
        with gevent.Timeout(DEADLINE):
            while not self.server().open_connections:
                gevent.sleep(0.002)
        gevent.sleep(0.02)
        self.service.faults.append(SocketFault(drop=True))
        assert b"".join(voice.speak(TEXT)) == ramp(TEXT, voice.rate)
