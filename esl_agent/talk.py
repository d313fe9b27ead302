"""``esl-agent talk``: a conversation with a DID's agent in the terminal, without a telephone.

Drives the real dialogue and the real model; only ears and voice are text. The call's clock stands still while the
caller types and jumps where the caller is silent, so greeting, questions, goodbye and apology come as on the telephone.
What tools would do is told and not done: nobody is called, no server is asked. Budgets hold as in a call, but of a day
only this call is known; ears and voice cost nothing here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, TextIO

import gevent
from gevent.queue import Empty, Queue

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.audio.vad import VadSettings
from esl_agent.config import Config, DidConfig
from esl_agent.costs import CallCosts, DayTotals, shown
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.template import Facts
from esl_agent.errors import ConfigError
from esl_agent.prices import Tariff
from esl_agent.providers import registry
from esl_agent.providers.base import CallContext, Engines, Identity, LanguageModel, Switched, Transcript, Used
from esl_agent.providers.resilient import ResilientModel
from esl_agent.secret import beside
from esl_agent.speech_cache import SpeechCache
from esl_agent.wire.esl_commands import safe_text
from esl_agent.workers import Workers

RATE = 8000
_VOICED, _SILENT = b"\x01\x00" * (RATE // 50), bytes(RATE // 50 * 2)
#: Frames after which a caller who is not heard, or never ends, is given up: longer than any setting allows.
_MAX_FRAMES = 400
_MAX_TEXT = 4000
_HELP = "Type what the caller says, or the keys that are pressed. Empty line: silence. quit: the caller hangs up."
#: Phases in which the caller may do something.
_CALLERS_TURN = (Phase.LISTENING, Phase.HOLDING)
#: Phases in which the call has left the agent.
_GONE = (Phase.OVER, Phase.HANDED_OVER)


def run(config: Config, number: str, lines_in: Iterable[str], out: TextIO) -> None:
    """Talk to whoever answers ``number``, until one side hangs up.

    ``lines_in`` are the caller's words, a line at a time; ``quit`` or its end hangs up. Raises ConfigError if nobody
    answers the number or its model cannot be made.
    """
    did = config.find(number)
    if did is None:
        known = ", ".join(each.key.removeprefix("= ") for each in config.dids) or "none"
        raise ConfigError([f"nobody answers {number!r}: no file of dids/ is for it, and none is the default ({known})"])
    if did.has_agent:
        raise ConfigError(
            [f"talk: {number} is answered by a realtime agent, which needs sound: call it with a telephone"]
        )
    with beside(config.constants):
        models = [registry.make("llm", llm.name, llm.options, did.context) for llm in did.engines.llm]
    model = ResilientModel(models, did.settings.resilience, did.cascade.limits)
    converse(did, model, lines_in, out, tariff=Tariff(config.service.prices, config.service.currency))


def converse(
    did: DidConfig,
    model: LanguageModel,
    lines_in: Iterable[str],
    out: TextIO,
    clock: Callable[[], float] = time.monotonic,
    tariff: Tariff | None = None,
) -> None:
    """As ``run``, with the DID and the model at hand. What is logged meanwhile is told on lines of its own."""
    conversation = _Conversation(did, model, out, clock, tariff or Tariff())
    logged = _Logged(conversation.logged)
    logging.getLogger().addHandler(logged)
    try:
        conversation.run(lines_in)
    finally:
        logging.getLogger().removeHandler(logged)


class _Logged(logging.Handler):
    """Warnings of the engines, in the terminal in which the conversation is."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._tell(record.getMessage() + (f": {error!r}" if error is not None else ""))


class _Clock:
    """Monotonic time without what the caller spent typing, and with silences that nobody waited for."""

    def __init__(self, real: Callable[[], float]) -> None:
        self.real = real
        self._offset = 0.0

    def __call__(self) -> float:
        return self.real() + self._offset

    def skip(self, seconds: float) -> None:
        self._offset += max(0.0, seconds)

    def stand_still(self, read: Callable[[], str | None]) -> str | None:
        began = self.real()
        try:
            return read()
        finally:
            self._offset -= self.real() - began


class _Keyboard:
    """The recogniser: every utterance is the line that was typed."""

    identity = Identity("keyboard")
    streaming = False
    line = ""

    def recognise(self, audio: Iterator[bytes], rate: int) -> Iterator[Transcript]:
        for _ in audio:
            pass
        # A recogniser brings words; a line without any is a noise that nobody understands.
        yield Transcript(self.line if re.search(r"\w", self.line) else "", True)


class _Screen:
    """The voice: silence, for the text itself is shown."""

    identity = Identity("screen")
    rate = RATE
    voice = "text"

    def speak(self, text: str) -> Iterator[bytes]:
        yield _SILENT


class _Frames:
    """Says which of our two frames is voiced."""

    def __init__(self, settings: VadSettings, rate: int) -> None:
        pass

    def is_voiced(self, frame: bytes) -> bool:
        return frame == _VOICED


class _Conversation:
    """One call in text. Everything happens in the caller's greenlet but the work of the engines."""

    def __init__(
        self, did: DidConfig, model: LanguageModel, out: TextIO, clock: Callable[[], float], tariff: Tariff
    ) -> None:
        self._did = did
        self._out = out
        self._clock = _Clock(clock)
        self._events: Queue[ev.Event] = Queue()
        self._keyboard = _Keyboard()
        self._name = f"talk {did.name}"
        budget, zone = did.settings.budget, did.zone
        self._costs = CallCosts(did.key, budget, tariff, DayTotals(), lambda: datetime.now(zone).date())
        context = CallContext(self._name, self._told, self._costs.affordable)
        self._engines = Engines(self._keyboard, model, _Screen()).for_call(context)
        self._workers = Workers(self._engines, SpeechCache(), RATE, self._events.put, self._name)
        facts = Facts("talk", did.settings.did, did.name, "", "", datetime.now(did.zone))
        self._dialogue = Cascade(
            did.cascade.filled(facts, did.language),
            self._clock(),
            _Frames,
            language=did.language,
            languages={tag: language.cascade.filled(facts, tag) for tag, language in did.languages.items()},
        )
        self._texts: dict[tuple[int, int], str] = {}
        self._asked: dict[tuple[int, int], float] = {}
        """When the model was asked: by turn, and by how often it had been asked in it before."""
        self._first_words: dict[tuple[int, int], float] = {}
        self._thought: dict[int, str] = {}
        self._speaking: int | None = None
        workers = self._workers
        self._perform: dict[type, Callable[[Any], None]] = {
            act.OpenUtterance: lambda a: workers.open_utterance(a.utterance),
            act.SendAudio: lambda a: workers.send_audio(a.utterance, a.pcm),
            act.CloseUtterance: lambda a: workers.close_utterance(a.utterance),
            act.RetryUtterance: lambda a: workers.retry_utterance(a.utterance),
            act.AbandonUtterance: lambda a: workers.abandon_utterance(a.utterance),
            act.AskModel: self._ask,
            act.Summarise: lambda a: workers.summarise(a.number, a.messages),
            act.AbandonSummary: lambda a: workers.abandon_summary(),
            act.RunTool: self._run_tool,
            act.Transfer: self._transfer,
            act.SendDigits: lambda a: self._say(f"-- keys are sent: {a.digits}"),
            act.SetVariable: lambda a: self._say(f"-- {a.name} is set to {safe_text(a.value, _MAX_TEXT)}"),
            act.SwitchLanguage: lambda a: self._say(f"-- the call goes on in {a.language}"),
            act.Gathered: lambda a: None,
            act.AbandonTurn: lambda a: workers.abandon_turn(a.turn),
            act.Synthesise: self._synthesise,
            act.Play: self._play,
            act.StopPlayback: lambda a: None,
            act.Measured: self._measured,
            act.HangUp: self._hung_up,
        }

    def run(self, lines_in: Iterable[str]) -> None:
        self._say(f"-- {self._did.name} answers ({self._did.file.name}). {_HELP}")
        lines = iter(lines_in)
        try:
            self._receive(ev.MediaStarted(RATE))
            self._receive(ev.Answered())
            self._until_the_caller_may_speak()
            while self._dialogue.phase not in _GONE:
                line = self._clock.stand_still(lambda: self._read(lines))
                if line is None or line.lower() == "quit":
                    self._say("-- the caller hangs up")
                    self._receive(ev.HungUp("NORMAL_CLEARING"))
                elif re.fullmatch(r"[0-9*#]+", line):
                    self._press(line)
                elif line:
                    self._speak(line)
                else:
                    self._stay_silent()
                self._until_the_caller_may_speak()
        finally:
            self._workers.close()
            self._engines.close()
        gevent.sleep(0)  # those who were stopped say what they had used
        self._tell_costs()

    def logged(self, message: str) -> None:
        """Tell what was logged."""
        self._say(f"-- {safe_text(message.removeprefix(f'call={self._name} '), _MAX_TEXT)}")

    def _told(self, told: Used | Switched) -> None:
        if isinstance(told, Switched):
            self._say(f"-- {told.stage}: {told.after} instead of {told.before}: {told.reason}")
            return
        self._costs.used(told)
        for passed in self._costs.news():
            self._say(f"-- budget: {passed}")
            if passed.is_limit:
                self._events.put(ev.BudgetSpent(passed.scope))

    def _tell_costs(self) -> None:
        """What the model has cost, where that is known."""
        if not self._costs.tariff:
            return
        for part in self._costs.record()["parts"]:
            tokens = f"{part.get('input_tokens', 0)} tokens in, {part.get('output_tokens', 0)} out"
            cost = f"{part['cost']:g}" if "cost" in part else "no price"
            estimated = ", in part estimated" if "estimated" in part else ""
            self._say(f"-- {safe_text(part['provider'])}: {part['requests']} requests, {tokens}{estimated}: {cost}")
        self._say(f"-- the model cost {shown(self._costs.total):g} {self._costs.tariff.currency}".rstrip())

    def _read(self, lines: Iterator[str]) -> str | None:
        """The caller's next line; None at the end."""
        is_terminal = self._out.isatty()
        if is_terminal:
            self._write("caller: ")
        line = next(lines, None)
        if line is None:
            self._write("\n" if is_terminal else "")
            return None
        line = safe_text(line, _MAX_TEXT)
        if line and not is_terminal:
            self._say(f"caller: {line}")
        return line

    def _speak(self, line: str) -> None:
        """The line as sound: voiced frames until it is heard, silent ones until it has ended."""
        self._keyboard.line = line
        for frame, done in ((_VOICED, act.OpenUtterance), (_SILENT, act.CloseUtterance)):
            for _ in range(_MAX_FRAMES):
                self._clock.skip(FRAME_SECONDS)
                if done in map(type, self._receive(ev.Audio(frame))) or self._dialogue.phase is Phase.OVER:
                    break

    def _press(self, keys: str) -> None:
        """The keys, and the pause after which the entry is complete."""
        for key in keys:
            self._clock.skip(FRAME_SECONDS)
            self._receive(ev.DigitPressed(key))
        if self._dialogue.phase in _CALLERS_TURN:
            due = self._dialogue.next_deadline
            assert due is not None
            self._clock.skip(due - self._clock())
            self._receive(ev.Tick())

    def _stay_silent(self) -> None:
        due = self._dialogue.next_deadline
        assert due is not None
        seconds = due - self._clock()
        self._clock.skip(seconds)
        self._say(f"-- {seconds:.0f} s of silence")
        self._receive(ev.Tick())

    def _until_the_caller_may_speak(self) -> None:
        while self._dialogue.phase not in _GONE:
            if self._dialogue.phase in _CALLERS_TURN and self._events.empty():
                return
            due = self._dialogue.next_deadline
            assert due is not None
            try:
                event = self._events.get(timeout=max(0.0, due - self._clock()))
            except Empty:
                event = ev.Tick()
            self._receive(event)

    def _receive(self, event: ev.Event) -> list[act.Action]:
        match event:
            case ev.ReplyText(turn, ask=ask):
                self._first_words.setdefault((turn, ask), self._clock.real())
            case ev.ReplyEnded(turn, ask=ask):
                self._thought[turn] = self._thinking_time(turn, ask)
            case ev.ProviderFailed(stage, _, error):
                self._say(f"-- {stage} failed: {error}")
            case _:
                pass
        actions = self._dialogue.receive(event, self._clock())
        for action in actions:
            self._perform[type(action)](action)
        return actions

    def _ask(self, action: act.AskModel) -> None:
        self._asked[action.turn, action.ask] = self._clock.real()
        self._workers.ask_model(action.turn, action.messages, action.tools, action.ask)

    def _run_tool(self, action: act.RunTool) -> None:
        arguments = ", ".join(f"{name}={value!r}" for name, value in action.call.arguments.items())
        self._say(f"-- {action.call.name}({safe_text(arguments, _MAX_TEXT)}) would ask its server")
        self._events.put(ev.ToolReturned(action.turn, action.call.id, "not available in this rehearsal", failed=True))

    def _transfer(self, action: act.Transfer) -> None:
        self._say(f"-- the call is handed over to {action.name}: {action.mode}, {action.number}")
        self._events.put(ev.Transferred(action.name))

    def _synthesise(self, action: act.Synthesise) -> None:
        self._texts[action.turn, action.clip] = action.text
        self._workers.synthesise(action.turn, action.clip, action.text)

    def _play(self, action: act.Play) -> None:
        """Everything said is heard at once, to its end."""
        if self._speaking != action.turn:
            self._end_line()
            self._write("agent:")
            self._speaking = action.turn
        self._write(f" {safe_text(self._texts[action.turn, action.clip], _MAX_TEXT)}")
        self._events.put(ev.Played(action.turn, action.clip, action.audio.seconds))

    def _measured(self, action: act.Measured) -> None:
        if action.turn == self._speaking:
            self._end_line()
        if action.turn in self._thought:
            self._say(f"-- {self._thought[action.turn]}")

    def _thinking_time(self, turn: int, ask: int) -> str:
        """Of the last request of a turn."""
        asked, now = self._asked[turn, ask], self._clock.real()
        first = self._first_words.get((turn, ask), now)
        return f"model: first words after {first - asked:.3f} s, all after {now - asked:.3f} s"

    def _hung_up(self, action: act.HangUp) -> None:
        self._say(f"-- the agent hangs up ({action.cause})")

    def _say(self, text: str) -> None:
        self._end_line()
        self._write(f"{text}\n")

    def _end_line(self) -> None:
        if self._speaking is not None:
            self._speaking = None
            self._write("\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
