"""The whole service on real sockets, with canned engines, called by a pretend FreeSWITCH."""

from __future__ import annotations

import dataclasses
import gc
import os
import random
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent

from esl_agent import config as configuration
from esl_agent.audio.pcm import Sound
from esl_agent.journal import Note
from esl_agent.lineup import Lineup
from esl_agent.providers.base import Engines
from esl_agent.server import Server
from esl_agent.testing.caller import PretendCaller, Say, Step, recording
from esl_agent.testing.freeswitch import PretendFreeSwitch
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.providers import GOODBYE, CannedLlm, CannedStt, ToneTts

PATIENCE = 8.0
GREETING, APOLOGY, FAILURE, ENDED = "Good day.", "I am sorry.", "It is out of order.", "We close now."
REPLY = "That is a long answer, and it goes on for a good while, so that there is time to talk over it."
_ONE = recording("digits-1")
#: One syllable.
SPEECH = Sound(_ONE.pcm[: int(0.55 * _ONE.rate) * 2], _ONE.rate)

AGENT = """
freeswitch:
  {{listen: "127.0.0.1:{esl}", max_calls: {max_calls}, busy_cause: USER_BUSY, command_timeout: 0.5, drain: {drain}}}
audio: {{listen: "127.0.0.1:{audio}", connect_timeout: 0.3, reconnects: 2}}
unicast: {{ports: [{first}, {last}], freeswitch_ports: [{other_first}, {other_last}]}}
clips: {{directory: "{clips}"}}
records: {{directory: "{records}"}}
log: {{private: true}}
"""
DID = """
did: {did}
phrases:
  greeting: "{greeting}"
  not_understood: "Pardon me."
  still_there: ["Are you there?"]
  apology: "{apology}"
  failure: "{failure}"
  too_long: "Time is up."
  ended: "{ended}"
  goodbye: "Goodbye then."
endpointing: {{silence: 0.3}}
silence: {{prompt_after: 2.0}}
limits: {{answer: 1.0, media: 1.0, stt: 0.5, llm: 0.5, tts: 0.5, playback: 0.5, goodbye: 3.0, retries: 1, failures: 2}}
llm: {{engine: rules, rules: [], otherwise: "x"}}
media: {media}
"""


#: 5000 is the one that things happen to, 6000 stays healthy; the others are for a test to break.
DIDS = ("5000", "6000", *(str(5100 + n) for n in range(8)))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def write_did(directory: Path, did: str, greeting: str = GREETING, media: str = "auto", more: str = "") -> None:
    (directory / "dids").mkdir(exist_ok=True)
    text = DID.format(did=did, greeting=greeting, apology=APOLOGY, failure=FAILURE, ended=ENDED, media=media)
    (directory / "dids" / f"{did}.yaml").write_text(text + more)


def write_conf(
    directory: Path,
    *,
    max_calls: int = 10,
    drain: float = 3.0,
    dids: Sequence[str] = DIDS,
    media: str = "auto",
    more: str = "",
    agent: str = "",
) -> int:
    """A configuration below ``directory``; the event socket's port. ``more``: settings of every DID; ``agent``: of the
    service."""
    esl = free_port()
    values = {"clips": directory / "clips", "records": directory / "records"}
    ports = iter(random.sample(range(10000, 30000, 40), 2))
    first, other = next(ports), next(ports)
    values |= {"first": first, "last": first + 39, "other_first": other, "other_last": other + 39}
    text = AGENT.format(esl=esl, audio=free_port(), max_calls=max_calls, drain=drain, **values)
    (directory / "agent.yaml").write_text(text + agent)
    for did in dids:
        write_did(directory, did, media=media, more=more)
    return esl


def until(condition: Callable[[], Any], seconds: float = PATIENCE, why: Callable[[], Any] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true; {why()}"
        gevent.sleep(0.01)


class Traces:
    """What the process holds: compare before and after."""

    def __init__(self) -> None:
        gevent.get_hub().threadpool.apply(int)  # its thread and descriptors stay
        gc.collect()
        self.greenlets = self._greenlets()
        self.files = self._files()
        self.before = self._named()

    def assert_nothing_was_left(self) -> None:
        def is_clean() -> bool:
            gc.collect()
            return self._files() <= self.files and not self._greenlets() - self.greenlets

        until(is_clean, 3.0, lambda: (self._named() - self.before, self._greenlets() - self.greenlets))

    @staticmethod
    def _files() -> int:
        return len(os.listdir("/proc/self/fd"))

    @staticmethod
    def _named() -> set[str]:
        names = set()
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                names.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        return names

    @staticmethod
    def _greenlets() -> set[Any]:
        return {each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead}


class Service:
    """DID 5000 is the one that things happen to; 6000 has healthy engines of its own."""

    def __init__(self, directory: Path, **conf: Any) -> None:
        self.directory = directory
        self.esl = write_conf(directory, **conf)
        self.stt = CannedStt(["hello"], sleep=gevent.sleep)
        self.llm = CannedLlm([REPLY], sleep=gevent.sleep)
        self.tts = ToneTts(8000, per_character=0.02, sleep=gevent.sleep)
        self.notes: dict[str, list[Note]] = defaultdict(list)
        config = configuration.load(directory, environment={})
        engines = {did.key: self._healthy() for did in config.dids} | {"= 5000": Engines(self.stt, self.llm, self.tts)}
        self.server = Server(
            directory, config, lineup=Lineup(config, engines), watch=lambda call, note: self.notes[call].append(note)
        )
        self.server.start()
        phrases = [text for did in config.dids for text in did.cascade.clauses()]
        until(lambda: all(self.server.reception.cache.get(self.tts.voice, text) for text in phrases))
        self.switch = PretendFreeSwitch(("127.0.0.1", self.esl))

    def _healthy(self) -> Engines:
        tts = ToneTts(8000, per_character=0.02, sleep=gevent.sleep)
        return Engines(CannedStt(["hi"], sleep=gevent.sleep), CannedLlm([GOODBYE], sleep=gevent.sleep), tts)

    def serve(self, did: str, **engines: Any) -> None:
        """From now on ``did`` is served by healthy engines but for those given (``stt``, ``llm``, ``tts``)."""
        self.server.reception.lineup.engines[f"= {did}"] = dataclasses.replace(self._healthy(), **engines)

    def call(self, *script: Step, did: str = "5000", options: Options | None = None, **more: Any) -> PretendCall:
        return self.switch.call(did, audio=PretendCaller(script), options=options, **more)

    def healthy_call(self) -> PretendCall:
        """A short conversation that the agent ends."""
        return self.call(Say(SPEECH, pause=0.2), did="6000")

    def assert_healthy(self, call: PretendCall) -> None:
        """The conversation went as if nothing had happened elsewhere."""
        assert call.wait(PATIENCE), self.story(call)
        assert self.said(call) == [GREETING, "Goodbye."], self.story(call)
        assert call.hangup_cause == "NORMAL_CLEARING"

    def whats(self, call: PretendCall) -> list[str]:
        return [note.what for note in self.notes[call.uuid]]

    def note(self, call: PretendCall, what: str) -> list[dict[str, Any]]:
        """The facts of every note ``what``."""
        return [dict(note.facts) for note in self.notes[call.uuid] if note.what == what]

    def said(self, call: PretendCall) -> list[str]:
        """Clauses of which the caller heard something, in order."""
        texts = {(note["turn"], note["clip"]): str(note["text"].text) for note in self.note(call, "clause")}
        return [texts[note["turn"], note["clip"]] for note in self.note(call, "played") if note["heard"] > 0]

    def until(self, call: PretendCall, what: str, count: int = 1) -> None:
        """Until the call's journal has so many notes ``what``."""
        until(lambda: self.whats(call).count(what) >= count, why=lambda: (what, self.story(call)))

    def until_said(self, call: PretendCall, text: str, count: int = 1) -> None:
        until(lambda: self.said(call).count(text) >= count, why=lambda: (text, self.story(call)))

    def story(self, call: PretendCall) -> str:
        """For failures: what happened."""
        return "\n".join(
            [f"{note.at:.2f} {note.what} {dict(note.facts)}" for note in self.notes[call.uuid]]
            + [f"switch {at:.2f} {what} {detail}" for at, what, detail in call.facts]
        )

    def close(self) -> None:
        """All calls are over and nothing of them is left, then the service ends."""
        try:
            for call in self.switch.calls:
                if call.machine.is_up:
                    call.hang_up()
            until(lambda: not self.server.reception.calls and not self.server.freeswitch.listener.connection_count)
            until(lambda: not list(self.server.freeswitch.clips.iterdir()))
            assert self.server.freeswitch.media.ports.taken == 0
            assert not self.server.freeswitch.audio._connections
            assert not self.server.freeswitch.audio._expected
            assert self.server.freeswitch.listener.failed_applications == 0
        finally:
            self.switch.close()
            self.server.stop()
        assert not self.server.freeswitch.clips.exists()
