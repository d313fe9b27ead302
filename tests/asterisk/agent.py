"""The agent behind a real Asterisk: the whole service on real sockets; its engines say and hear recordings."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent

from esl_agent import config as configuration
from esl_agent.audio.pcm import Sound
from esl_agent.journal import Note
from esl_agent.lineup import Lineup
from esl_agent.providers.base import Engines, Identity, ReplyPart, Transcript
from esl_agent.server import Server
from esl_agent.testing.caller import recording
from esl_agent.testing.line import louder, resample, trim
from esl_agent.testing.providers import CannedLlm
from esl_agent.testing.sip_phone import SipCall
from tests.asterisk.likeness import likeness
from tests.asterisk.switch import RealAsterisk, free_ports

#: A number each for the doors of conf/asterisk's dialplan, with what the callers of the tests dial before it.
DOORS = {"audiosocket": "", "websocket": "ws.", "ari": "ari."}
GREETING, REPLY, LONG = "Good day.", "I am sorry for your trouble.", "Something is terribly wrong."
#: What whoever is called for a caller hears.
BRIEFING = "A caller wants to talk to you."
#: What the agent says, and how it sounds. Its other phrases are one short word.
VOICE = {
    GREETING: "digits-3",
    REPLY: "sorry-youre-having-problems",
    LONG: "something-terribly-wrong+tt-monkeysintro",
    "Goodbye.": "vm-goodbye",
    BRIEFING: "vm-theperson",
}
AGENT = """
freeswitch: {{listen: "127.0.0.1:1"}}
clips: {{directory: "{directory}/clips"}}
records: {{directory: "{directory}/records"}}
log: {{private: true}}
asterisk:
  enabled: true
  {more}
  audiosocket: {{port: {audiosocket}}}
  websocket: {{listen: "127.0.0.1:{websocket}"}}
  ami: {{server: "{ami}", secret_file: "{directory}/ami.secret"}}
  ari: {{url: "{ari}", password_file: "{directory}/ari.secret"{ari_more}}}
"""
DID = """
did: {did}
phrases:
  greeting: "{greeting}"
  goodbye: "Goodbye."
endpointing: {{silence: 0.6}}
silence: {{prompt_after: 20.0}}
limits: {{stt: 2.0, llm: 2.0, tts: 2.0, goodbye: 3.0}}
destinations:
  desk: {{number: 2001}}
  nowhere: {{number: 7777}}
{destinations}
tools: {{builtin: [transfer, hang_up, collect_digits]}}
dtmf: {{timeout: 0.4, first: 2.0}}
llm: {{engine: rules, rules: [], otherwise: "x"}}
"""


def voice_of(text: str) -> Sound:
    """How the agent says ``text``, at the rate it is sent with."""
    return resample(louder(trim(recording(VOICE.get(text, "digits-1"))), -3.0), 24000)


class RecordedTts:
    """Says what VOICE has, 24 kHz."""

    identity = Identity("recorded")
    rate = 24000
    voice = "recorded"

    def speak(self, text: str) -> Iterator[bytes]:
        pcm = voice_of(text).pcm
        for at in range(0, len(pcm), 9600):
            yield pcm[at : at + 9600]


class EarStt:
    """Understands ``text``, whatever is said, and keeps what it heard."""

    identity = Identity("ear")
    streaming = True

    def __init__(self, text: str = "hello") -> None:
        self.heard: list[Sound] = []
        self._text = text

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        self.heard.append(Sound(b"".join(audio), rate))
        yield Transcript(self._text, final=True, confidence=1.0)


def write_conf(
    directory: Path,
    asterisk: RealAsterisk,
    *,
    ami: bool = True,
    ari: bool = True,
    ari_more: str = "",
    more: str = "",
    greeting: str = GREETING,
    destinations: str = "",
) -> int:
    """A configuration below ``directory``; the port of its AudioSocket server. That is the one that calls without a
    port in their number go to, but where neither AMI nor ARI is asked for."""
    ports = asterisk.ports if ami or ari else free_ports()
    text = AGENT.format(
        directory=directory,
        audiosocket=ports.audiosocket,
        websocket=ports.websocket,
        ami=f"127.0.0.1:{ports.ami}" if ami else "",
        ari=f"http://127.0.0.1:{ports.http}" if ari else "",
        ari_more=ari_more,
        more=more,
    )
    (directory / "agent.yaml").write_text(text)
    (directory / "ami.secret").write_text(asterisk.secrets.ami)
    (directory / "ari.secret").write_text(asterisk.secrets.ari)
    (directory / "dids").mkdir()
    for n in range(10):
        (directory / "dids" / f"500{n}.yaml").write_text(
            DID.format(did=f"500{n}", greeting=greeting, destinations=destinations)
        )
    return ports.audiosocket


class Agent:
    """The service with every door to ``asterisk`` open, but as ``conf`` (see ``write_conf``) says. DIDs 5000 to 5009
    answer."""

    def __init__(self, directory: Path, asterisk: RealAsterisk, **conf: Any) -> None:
        self.audiosocket = write_conf(directory, asterisk, **conf)
        self.notes: dict[str, list[Note]] = defaultdict(list)
        self.ears: dict[str, EarStt] = {}
        config = configuration.load(directory, environment={})
        self._lineup = Lineup(config, {did.key: self._engines(did.key, [REPLY]) for did in config.dids})
        self.server = Server(directory, config, lineup=self._lineup, watch=self._note, freeswitch=False)
        self.server.start()

    def serve(self, did: str, *replies: str | Sequence[ReplyPart]) -> EarStt:
        """From now on ``did`` answers with ``replies`` in turn; the ears that its callers have."""
        self._lineup.engines[f"= {did}"] = self._engines(f"= {did}", replies)
        return self.ears[f"= {did}"]

    def _engines(self, key: str, replies: Sequence[str | Sequence[ReplyPart]]) -> Engines:
        self.ears[key] = EarStt()
        return Engines(self.ears[key], CannedLlm(list(replies), sleep=gevent.sleep), RecordedTts())

    def _note(self, call: str, note: Note) -> None:
        self.notes[call].append(note)

    def calls_to(self, did: str) -> list[str]:
        """Ids of the calls there were and are to ``did``."""
        return [call for call in self.notes if any(fact["did"].text == did for fact in self.facts(call, "call"))]

    def facts(self, call: str, what: str) -> list[dict[str, Any]]:
        """Of every note ``what``."""
        return [dict(note.facts) for note in self.notes[call] if note.what == what]

    def story(self) -> str:
        """For failures: what happened."""
        every = [(call, note) for call, notes in self.notes.items() for note in notes]
        return "\n".join(f"{call[:8]} {note.at:.2f} {note.what} {dict(note.facts)}" for call, note in every)

    @property
    def is_connected(self) -> bool:
        """AMI and ARI know of the calls that come from now on."""
        door = self.server.asterisk
        assert door is not None
        return all(client.is_connected for client in (door.ami, door.ari) if client is not None)

    @property
    def is_idle(self) -> bool:
        return not self.server.reception.calls

    def close(self) -> None:
        try:
            until(lambda: self.is_idle, why=self.story)
        finally:
            self.server.stop()


def until(
    condition: Callable[[], Any], seconds: float = 20.0, why: Callable[[], Any] = lambda: "", every: float = 0.02
) -> None:
    """``every``: seconds between two looks. A long look holds up the agent and the callers, who are on this hub too."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true; {why()}"
        gevent.sleep(every)


def assert_they_hear(*calls: SipCall, sound: Sound) -> None:
    """Each of ``calls`` says ``sound``, and each hears all of it."""
    for call in calls:
        call.sound.say(sound)
    until(lambda: not any(call.sound.is_speaking for call in calls))

    def is_heard() -> bool:
        return all(likeness(call.sound.heard(), sound)[0] > 0.95 for call in calls)

    until(is_heard, 10.0, lambda: [likeness(call.sound.heard(), sound)[0] for call in calls], every=0.1)
