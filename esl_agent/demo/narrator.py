"""The demo's conversation in the terminal, line by line as it happens: all of it from the journal's notes."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import TextIO

from esl_agent.demo.findings import quoted
from esl_agent.demo.story import clear
from esl_agent.journal import Note
from esl_agent.testing.caller import Spoken

_WIDTH = 110
_INDENT = " " * 19
#: Who fails, in words.
STAGES = {"stt": "the recogniser", "llm": "the model", "tts": "the voice"}
#: Steps of an answer in their order; endpointing: making sure that the caller has finished.
STEPS = ("endpointing", "stt", "llm", "tts", "playback")


def clock(seconds: float) -> str:
    """``1:02.3``"""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


class Narrator:
    """``watch`` is what the server calls with every note of the call."""

    def __init__(self, to: TextIO) -> None:
        self._to = to
        self.notes: list[Note] = []
        self.began = 0.0
        """When the call came in, on the monotonic clock."""
        self.spoken: Sequence[Spoken] = ()
        """What the caller really said so far."""
        self.briefing = ""
        """What a colleague is told who is called for the caller."""
        self._texts: dict[tuple[int, int], str] = {}
        self._answered = 0.0
        self._clip = (0, 0)
        self._yielded = 0.0
        self._has_stopped = self._goes_on = self._is_yielding = False
        self._held: list[tuple[float, str]] = []

    def watch(self, call_id: str, note: Note) -> None:
        if not self.notes:
            self.began = time.monotonic() - note.at
        self.notes.append(note)
        facts = note.facts
        match note.what:
            case "call":
                self.line(note.at, "", f"a call comes in for {clear(facts['did'])} from {clear(facts['caller'])}")
            case "answered":
                self._answered = note.at
                self.line(note.at, "", "the agent answers")
            case "clause":
                self._texts[facts["turn"], facts["clip"]] = clear(facts["text"])
            case "transfer":
                self.briefing = next(reversed(self._texts.values()), "")
                self.line(note.at, "", f"the agent calls {clear(facts['name'])} for the caller")
            case "transfer_failed":
                self.line(note.at, "", f"the agent has the caller back: {clear(facts['reason'])}")
            case "began":
                self._began((facts["turn"], facts["clip"]), note.at)
            case "stop_playback":
                self._has_stopped = True
            case "yield":
                self._yielded, self._is_yielding = note.at, True
            case "resumed":
                self._resumed(note.at)
            case "confirmed" if self._is_yielding:
                self._confirmed()
            case "caller":
                self._said(note.at, clear(facts["text"]) or "(not understood)")
            case "turn":
                if facts["interrupted"] and self._is_yielding:
                    self._confirmed()  # its own note comes after this one
                self._timings(note)
            case "hang_up":
                self.line(note.at, "", "the agent hangs up")
            case "hung_up":
                self.line(note.at, "", f"the call is over: {clear(facts['cause'])}")
            case _ if trouble := _trouble(note):
                self.line(note.at, "", trouble)
            case _:
                pass

    def _began(self, clip: tuple[int, int], at: float) -> None:
        if self._goes_on:
            self.line(at, "", f"** {self._murmur()}: it pauses {at - self._yielded:.1f} s and goes on **")
        if not self._goes_on or clip != self._clip:
            self.line(at, "agent", self._texts.get(clip, ""))
        self._has_stopped = self._goes_on = False
        self._clip = clip

    def _said(self, at: float, text: str) -> None:
        if self._is_yielding:
            self._held.append((at, text))  # to be told if it takes the floor
        else:
            self.line(at, "caller", text)

    def _confirmed(self) -> None:
        self._has_stopped = self._goes_on = self._is_yielding = False
        self.line(self._yielded, "", "** the caller talks over the agent, who stops **")
        held, self._held = self._held, []
        for at, text in held:
            self.line(at, "caller", text)

    def _resumed(self, at: float) -> None:
        self._is_yielding = False
        self._held.clear()
        if self._has_stopped:
            self._goes_on = True  # it is heard when its sound begins again
        else:
            self.line(at, "", f"** {self._murmur()}, who speaks on **")
        self._has_stopped = False

    def _murmur(self) -> str:
        if not self.spoken:
            return "a noise comes over the agent"
        said = quoted(self.spoken[-1])
        return (
            f"{said} of the caller over the agent" if said.startswith("[") else f"the caller says {said} over the agent"
        )

    def say(self, text: str) -> None:
        self._to.write(f"{text}\n")
        self._to.flush()

    def line(self, at: float, who: str, text: str) -> None:
        first = f"{clock(at):>7}  {who:<9} "
        self.say(textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=_INDENT))

    def _timings(self, note: Note) -> None:
        spans = {name: value for name, value in note.facts.items() if isinstance(value, float)}
        if note.facts["interrupted"]:
            heard = f'heard of this turn: "{clear(note.facts["agent"])}"'
            if "barge_in" in spans:
                heard += f"; decided to stop {milliseconds(spans['barge_in'])} after the first voiced sound"
            self.say(textwrap.fill(heard, _WIDTH, initial_indent=_INDENT + "-- ", subsequent_indent=_INDENT + "   "))
        if "latency" in spans:
            steps = ", ".join(f"{name} {spans[name] * 1000:.0f}" for name in STEPS if name in spans)
            self.say(f"{_INDENT}-- first sound {milliseconds(spans['latency'])} after the caller's last voice: {steps}")
        elif note.facts["kind"] == "greeting":
            began = next((n.at for n in self.notes if n.what == "began" and n.facts["turn"] == note.facts["turn"]), 0.0)
            self.say(f"{_INDENT}-- first sound {milliseconds(began - self._answered)} after the answer")


def _trouble(note: Note) -> str:
    """What went wrong, as a sentence; empty for a note of anything else."""
    facts = {name: clear(value) for name, value in note.facts.items()}
    match note.what:
        case "provider_failed":
            return f"{STAGES[facts['stage']]} failed: {facts['error'].removeprefix(facts['stage'] + ': ')}"
        case "switched":
            reason = facts["reason"].removeprefix(facts["stage"] + ": ")
            return f"{STAGES[facts['stage']]} is now {facts['after']} instead of {facts['before']}: {reason}"
        case "command_failed":
            return f"FreeSWITCH did not {facts['command']}: {facts['reply'] or 'no reply'}"
        case "media_lost":
            return f"the caller's sound is lost{' for good' if note.facts['final'] else ''}: {facts['reason']}"
        case "lost":
            return f"the call is lost: {facts['reason']}"
        case _:
            return ""
