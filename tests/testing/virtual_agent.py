"""An agent at virtual time: writes commands to a pretend FreeSWITCH's machine and keeps what comes back."""

from __future__ import annotations

import re

from esl_agent.audio.pcm import Sound
from esl_agent.testing.fs_channel import Party
from esl_agent.testing.fs_effects import Close, Effect, Write
from esl_agent.testing.fs_machine import Machine, Options

TONE = "/usr/share/freeswitch/sounds/en/tone660_2s.wav"
FILES = {TONE: Sound(bytes(32000), 8000), "/a3.wav": Sound(bytes(48000), 8000), "/b2.wav": Sound(bytes(32000), 8000)}
ALL = "PLAYBACK_START PLAYBACK_STOP BACKGROUND_JOB MEDIA_BUG_START MEDIA_BUG_STOP CUSTOM mod_audio_fork::connect "
ALL += "mod_audio_fork::connect_failed mod_audio_fork::disconnect mod_audio_fork::json"
ANSWER = "sendmsg\ncall-command: execute\nexecute-app-name: answer"


def play(argument: str, uuid: str, *, locked: bool = True) -> str:
    lock = "event-lock: true\n" if locked else ""
    return (
        f"sendmsg\ncall-command: execute\nexecute-app-name: playback\n{lock}"
        f"event-uuid: {uuid}\nexecute-app-arg: {argument}"
    )


def app(name: str, argument: str = "", *, locked: bool = False) -> str:
    lock = "event-lock: true\n" if locked else ""
    return f"sendmsg\ncall-command: execute\nexecute-app-name: {name}\n{lock}execute-app-arg: {argument}"


class Agent:
    """Drives a machine at virtual time and keeps what it wrote, split into messages."""

    def __init__(self, party: Party, options: Options | None = None) -> None:
        self.machine = Machine(party, FILES.get, options=options)
        self.now = 0.0
        self.written: list[bytes] = []
        self.times: list[float] = []
        self.effects: list[Effect] = []
        self.is_closed = False

    def say(self, *commands: str) -> list[bytes]:
        """Write commands and return what is answered at once."""
        before = len(self.written)
        self.machine.receive("".join(command + "\n\n" for command in commands).encode(), self.now)
        self._take()
        return self.written[before:]

    def until(self, now: float) -> None:
        """Let time pass, stopping at every deadline of the machine."""
        while self.machine.next_deadline is not None and self.machine.next_deadline <= now:
            self.now = self.machine.next_deadline
            self.machine.tick(self.now)
            self._take()
        self.now = now
        self.machine.tick(now)
        self._take()

    def answered(self, *, linger: str = "linger") -> str:
        """Set up a call as an agent should; returns its UUID. Time is 1.0 afterwards."""
        self.say("connect", linger, "myevents", f"event plain {ALL}", ANSWER)
        self.until(1.0)
        return self.machine.channel.uuid

    def story(self, since: float = 1.0) -> list[str]:
        """What arrived since: ``milliseconds what detail``, one line each, replies left out."""
        return [
            f"{(time - since) * 1000:.0f} {line}"
            for time, frame in zip(self.times, self.written, strict=True)
            if time >= since and (line := _short(frame))
        ]

    def event(self, name: str) -> bytes:
        """The last event of that name."""
        mark = f"Event-Name: {name}\n".encode()
        return [frame for frame in self.written if mark in frame or f'"Event-Name":"{name}"'.encode() in frame][-1]

    def _take(self) -> None:
        for effect in self.machine.outgoing():
            if isinstance(effect, Write):
                self.written.append(effect.data)
                self.times.append(self.now)
            elif isinstance(effect, Close):
                self.is_closed = True
            else:
                self.effects.append(effect)


def _short(frame: bytes) -> str:
    text = frame.decode(errors="replace")
    if "text/disconnect-notice" in text:
        return "notice " + text.split("Content-Disposition: ")[1].split("\n")[0]
    name = re.search(r"^Event-Name: (\w+)$", text, re.M)
    if not name:
        return ""
    words = [name[1].removeprefix("CHANNEL_").removeprefix("EXECUTE_")]
    state = words == ["STATE"]
    for header in ("Event-Subclass", "Application", "Application-UUID", "Application-Response", "Playback-Status"):
        found = re.search(rf"^{header}: (.*)$", text, re.M)
        if found and not found[1].startswith("00000000"):
            words.append(found[1].replace("%3A", ":").replace("%20", " "))
    if state:
        words.append(text.split("Channel-State: ")[1].split("\n")[0])
    return " ".join(words)
