"""How long a caller hears nothing when whoever listens, thinks or speaks dies: ``python -m bench.deaths``; a minute.

A call with the default settings: a first question is answered, then one service dies in one way, and a second question
is asked. Real sockets and the product's own engines; the services are pretend ones that die as ordered. All deaths at
the same time, each on a number of its own. Silence is measured in what the caller hears: no frame of the agent, and
none of the caller's.
"""

from __future__ import annotations

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import itertools
import json
import logging
import random
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import numpy as np

from bench.load import line, machine
from esl_agent import config as configuration
from esl_agent.audio.pcm import Sound
from esl_agent.journal import Note
from esl_agent.server import Server
from esl_agent.testing.caller import PretendCaller, Say, Wait, recording
from esl_agent.testing.freeswitch import PretendFreeSwitch
from esl_agent.testing.fs_call import PretendCall
from esl_agent.testing.web import FOREVER, PretendHttp, PretendWebSocket, Reply, Request, drop

#: Seconds that anything may take before the run counts as failed.
PATIENCE = 24.0
_ONE = recording("digits-1")
#: One syllable.
SPEECH = Sound(_ONE.pcm[: int(0.55 * _ONE.rate) * 2], _ONE.rate)
FIRST, SECOND = "We are open from nine to five.", "Yes, on Saturdays too. Until noon."
FILLER, APOLOGY = "One moment please.", "I am sorry, there is a problem."
#: Frames of 20 ms quieter than this hold no agent.
AUDIBLE = 150
#: What dies, and how, by the number that is called.
DEATHS = {
    str(5000 + number): death
    for number, death in enumerate(
        itertools.product(("stt", "llm", "tts"), ("refuses", "stalls", "breaks midway", "stalls midway"))
    )
}

AGENT = """
freeswitch: {{listen: "127.0.0.1:{esl}"}}
audio: {{listen: "127.0.0.1:{audio}"}}
unicast: {{ports: [{ports}, {last}], freeswitch_ports: [{others}, {other_last}]}}
clips: {{directory: "{directory}/clips"}}
cache: {{directory: ""}}
log: {{private: true}}
"""
DID = """
did: {did}
media: {media}
phrases: {{greeting: "Good day.", filler: ["{filler}"], apology: "{apology}"}}
stt: [{{engine: vosk, url: "{ws}"}}, {{engine: transcribe, url: "{spare}/transcribe"}}]
llm:
  - {{engine: openai, url: "{http}/v1", api_key_env: "", model: first}}
  - {{engine: openai, url: "{spare}/v1", api_key_env: "", model: second}}
tts: [{{engine: openai, url: "{http}/v1", voice: a}}, {{engine: openai, url: "{spare}/v1", voice: b}}]
"""


@dataclass
class Services:
    """One set of services: a recogniser, a model and a voice. ``die(stage, how)`` orders the death of one."""

    http: PretendHttp
    ws: PretendWebSocket
    death: tuple[str, str] = ("", "")

    @classmethod
    def make(cls) -> Services:
        http = PretendHttp()
        made = cls(http, PretendWebSocket(lambda connection: made.listen(connection)))
        http.route("POST", "/v1/chat/completions", made.think)
        http.route("POST", "/v1/audio/speech", made.speak)
        http.route("POST", "/transcribe", lambda request: Reply.json({"transcript": "hello"}))
        return made

    def how(self, stage: str) -> str:
        return self.death[1] if self.death[0] == stage else ""

    def think(self, request: Request) -> Reply:
        said = SECOND if sum(each["role"] == "user" for each in request.json()["messages"]) > 1 else FIRST
        chunks = [
            {"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
            for word in said.split()
        ]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
        return self._dying("llm", [*events, b"data: [DONE]\n\n"], "text/event-stream", split=4)

    def speak(self, request: Request) -> Reply:
        samples = round(len(request.json()["input"]) * 0.05 * 24000)
        pitch = 300 if request.json()["voice"] == "a" else 500
        tone = (6000 * np.sin(np.arange(samples) * 2 * np.pi * pitch / 24000)).astype("<i2").tobytes()
        pieces = [tone[at : at + 9601] for at in range(0, len(tone), 9601)]
        return self._dying("tts", pieces, "audio/pcm", split=2)

    def _dying(self, stage: str, pieces: list[bytes], content_type: str, split: int) -> Reply:
        """The answer, up to where the service dies: before it, or after ``split`` pieces."""
        how = self.how(stage)
        if how == "refuses":
            return Reply.json({"error": {"message": "out of order"}}, 503)
        if how == "stalls":
            gevent.sleep(FOREVER)

        def body() -> Iterator[bytes]:
            yield from pieces[:split]
            if how == "stalls midway":
                gevent.sleep(FOREVER)
            if how == "breaks midway":
                raise OSError("the pretend service dies")
            yield from pieces[split:]

        return Reply(body(), content_type=content_type)

    def listen(self, connection: Any) -> None:
        """Vosk's protocol."""
        count = 0
        for message in connection:
            how, count = self.how("stt"), count + 1
            if how == "refuses" or (how == "breaks midway" and count > 3):
                drop(connection)
                return
            if how == "stalls" or (how == "stalls midway" and count > 3):
                continue
            if isinstance(message, bytes):
                connection.send('{"partial": ""}')
            elif "eof" in message:
                connection.send('{"text": "hello"}')
                return


@dataclass(frozen=True, slots=True)
class Survived:
    """One call. ``silence``: the longest one after the first answer, in seconds; ``said``: what was heard, in order."""

    stage: str
    how: str
    silence: float
    said: list[str]
    switched: list[str]
    """The stages that were served by another provider from some moment on."""


class Phone:
    """The whole service and the switch. Each DID has services of its own: ``first`` ones, which die, and spare ones."""

    def __init__(self, directory: Path, media: str, dids: Sequence[str]) -> None:
        (directory / "dids").mkdir()
        self.first: dict[str, Services] = {}
        self._services: list[Services] = []
        for did in dids:
            first, spare = Services.make(), Services.make()
            self._services += [first, spare]
            self.first[did] = first
            for each in (first, spare):
                each.http.start()
                each.ws.start()
            urls = {"ws": first.ws.url, "http": first.http.url, "spare": spare.http.url}
            text = DID.format(did=did, media=media, filler=FILLER, apology=APOLOGY, **urls)
            (directory / "dids" / f"{did}.yaml").write_text(text)
        esl, ports = free_port(), random.randrange(12000, 30000, 100)
        values = {"ports": ports, "last": ports + 49, "others": ports + 50, "other_last": ports + 99}
        (directory / "agent.yaml").write_text(AGENT.format(esl=esl, audio=free_port(), directory=directory, **values))
        config = configuration.load(directory)
        self.notes: dict[str, list[Note]] = defaultdict(list)
        self.server = Server(directory, config, watch=lambda call, note: self.notes[call].append(note))
        self.server.start()
        at = self.server.reception
        voices = [(at.lineup.engines[did.key].tts.voice, did.cascade.clauses()) for did in config.dids]
        _until(lambda: all(at.cache.get(voice, text) for voice, said in voices for text in said))
        self.switch = PretendFreeSwitch(("127.0.0.1", esl))

    def facts(self, call: PretendCall, what: str) -> list[dict[str, Any]]:
        return [dict(note.facts) for note in self.notes[call.uuid] if note.what == what]

    def said(self, call: PretendCall) -> list[str]:
        texts = {(note["turn"], note["clip"]): str(note["text"].text) for note in self.facts(call, "clause")}
        return [texts[note["turn"], note["clip"]] for note in self.facts(call, "played") if note["heard"] > 0]

    def close(self) -> None:
        self.switch.close()
        self.server.stop()
        for each in self._services:
            each.http.stop()
            each.ws.stop()

    def survive(self, did: str, stage: str, how: str) -> Survived:
        """A call to ``did`` in which ``stage`` dies. Raises TimeoutError with the call's story if it never goes on."""
        caller = PretendCaller([Say(SPEECH, pause=0.4), Say(SPEECH, pause=0.6), Wait(60.0)])
        call = self.switch.call(did, audio=caller)

        def story() -> str:
            notes = [f"{note.at:.2f} {note.what} {dict(note.facts)}" for note in self.notes[call.uuid]]
            return "\n".join([f"{stage} {how}", *notes])

        _until(lambda: FIRST in self.said(call), story)
        self.first[did].death = (stage, how)
        _until(lambda: SECOND.split(". ")[-1] in self.said(call), story)
        heard = call.heard_pcm()
        call.hang_up()
        if not call.wait_released(5.0):
            raise TimeoutError(story())
        zero = call.started_at + call.frame_times[0]
        spoken = [(each.began - zero, each.ended - zero) for each in caller.spoken]
        quiet = [to - start for start, to in silences(heard, spoken, call.machine.channel.party.rate)]
        switched = [str(note["stage"]) for note in self.facts(call, "switched")]
        return Survived(stage, how, max(quiet), self.said(call), switched)

    def survive_all(self) -> list[Survived]:
        """Every death, all at once."""
        calls = [gevent.spawn(self.survive, did, *death) for did, death in DEATHS.items()]
        gevent.joinall(calls, raise_error=True)
        return [call.value for call in calls]


def silences(heard: bytes, spoken: list[tuple[float, float]], rate: int) -> list[tuple[float, float]]:
    """(from, to) in seconds from the first frame, where neither the agent nor the caller was heard."""
    samples = np.frombuffer(heard, "<i2").astype(np.float64)
    frames = samples[: len(samples) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    loud = np.sqrt((frames**2).mean(axis=1)) > AUDIBLE
    for began, ended in spoken:
        loud[max(0, int(began * 50)) : int(ended * 50) + 1] = True
    return [(float(a) / 50, float(b) / 50) for a, b in pairwise(np.flatnonzero(loud)) if b - a > 1]


def _until(condition: Callable[[], Any], story: Callable[[], str] = str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(story())
        gevent.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def main() -> None:
    logging.disable()
    print(machine(), "\n")
    print(line(("media", "what dies", "how", "longest silence, s", "the caller hears")))
    print(line(["---"] * 5))
    for media in ("audio_fork", "unicast"):
        with tempfile.TemporaryDirectory() as directory:
            phone = Phone(Path(directory), media, list(DEATHS))
            for each in phone.survive_all():
                said = " ".join(each.said[each.said.index(FIRST) + 1 :])
                print(line((media, each.stage, each.how, f"{each.silence:.2f}", said)), flush=True)
            phone.close()


if __name__ == "__main__":
    main()
