"""Turn taking for recogniser -> language model -> voice. The heart: decides whose turn it is, and nothing else.

Laws (each has a property test of the same name in tests/pure/test_laws.py):

1. An abandoned turn never plays, synthesises or asks again.
2. At most one turn is in flight; clips play in order, and each moment of a clip's sound is played once.
3. Every phase but OVER has a deadline.
4. History holds what the caller heard, not what the model wrote.
5. The greeting never precedes Answered (nothing is spent on early media).
6. After HungUp the machine returns nothing, for ever. A silent world ends in OVER.
7. A call is hung up or handed over only after its last words were heard, or their bounded wait ran out. Whoever has
   been handed over is not spoken to.
8. A suspended turn makes no sound until it is resumed (unless barge_in.hesitate lets it speak on); a resumed clip goes
   on where it was cut: it never repeats more than was unheard, and never skips.
9. Whoever fails is asked a bounded number of times, and the call ends in words. Of a model that fails no half sentence
   is spoken; what it wanted done is done once.

Time is an argument: ``receive(event, now)`` with a monotonic ``now``, and ``next_deadline`` says when ``Tick`` is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from esl_agent.audio.vad import VadSettings, VoiceDetector
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import (
    AbandonUtterance,
    Action,
    OpenUtterance,
    SendAudio,
)
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.duties import DEAF
from esl_agent.dialogue.ear import Detector, Ear, SecondOpinion
from esl_agent.dialogue.endpointing import Change
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.summary import Summaries
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.turn import Kind, Turn

#: Several deadlines may pass at the same time; what is left of them after so many steps is left to the next Tick.
DUE_AT_ONCE = 8


class Cascade(Summaries):
    """One call's dialogue. Not thread-safe: one greenlet calls ``receive``.

    ``streams``: the leg's media does (``MediaStream.streams``). ``language``: the caller's, a BCP 47 tag.
    ``languages``: what is different in the others that the call may go on in. ``toolbox``: the DID's, made from its
    settings if not given.
    """

    def __init__(
        self,
        settings: CascadeSettings,
        now: float,
        make_detector: Callable[[VadSettings, int], Detector] = VoiceDetector,
        *,
        streams: bool = False,
        language: str = "en",
        second_opinion: SecondOpinion | None = None,
        languages: Mapping[str, CascadeSettings] | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        ear = Ear(settings, make_detector, second_opinion, language)
        if toolbox is None:
            offered = tuple(dict.fromkeys((language, *(languages or ()))))
            toolbox = Toolbox(settings.tools, Policy(settings.destinations, settings.transfer), offered)
        super().__init__(settings, now, ear, toolbox, streams=streams, language=language)
        self._prepare(languages or {})
        self._call_ends = now + self._limits.answer
        self.next_deadline: float | None = self._call_ends
        """When Tick is wanted; None only in OVER. May be too early, never too late: a frame that changes nothing
        moves deadlines away, and computing them for each of 50 frames a second costs as much as its VAD."""

    # Public

    def receive(self, event: ev.Event, now: float) -> list[Action]:
        """Account for one fact; the orders that follow from it, in order. Never raises on late or odd events."""
        if self.phase is Phase.OVER:
            return []
        out: list[Action] = []
        if type(event) is ev.Audio:
            has_changed = self._on_audio(event.pcm, now, out)
            if not has_changed and (self.next_deadline is None or now < self.next_deadline):
                return out
        else:
            self._on_event(event, now, out)
        due = self._deadline()
        for _ in range(DUE_AT_ONCE):
            if due is None or now < due:
                break
            self._overdue(now, out)
            due = self._deadline()
        self._tend_summary(now, out)
        self.next_deadline = self._deadline()
        return out

    # Events

    def _on_event(self, event: ev.Event, now: float, out: list[Action]) -> None:
        match event:
            case ev.Played():
                self._on_played(event, now, out)
            case ev.Synthesised():
                if (turn := self._current(event.turn)) is None:
                    self._briefing_sounds(event, now, out)
                elif turn.synthesised(event.clip, event.audio, now):
                    self._advance(turn, now, out)
            case ev.ReplyText():
                if turn := self._writing(event.turn, event.ask):
                    turn.mark("first_text", now)
                    turn.progressed_at = now
                    turn.add_text(event.text)
                    self._advance(turn, now, out)
            case ev.ReplyEnded():
                if turn := self._writing(event.turn, event.ask):
                    self._reply_ended(turn, event.hang_up, now, out)
            case ev.HangUpWanted():
                if turn := self._writing(event.turn, event.ask):
                    turn.hang_up = True
            case ev.ToolCalled():
                if turn := self._writing(event.turn, event.ask):
                    self._tool_called(turn, event.call, now, out)
            case ev.ToolReturned():
                self._tool_returned(event, now, out)
            case ev.Transferred():
                self._transferred(event.name, now, out)
            case ev.TransferFailed():
                self._transfer_came_back(event.name, event.reason, now, out)
            case ev.SynthesisEnded():
                if (turn := self._current(event.turn)) is None:
                    self._briefing_sounds(event, now, out)
                elif clip := turn.synthesis_ended(event.clip, now):
                    self.transcript.lasts(turn.number, clip.number, clip.seconds)
                    self._advance(turn, now, out)
            case ev.Transcribed():
                self._on_transcribed(event, now, out)
            case ev.PlaybackBegan():
                self._began(event.turn, event.clip, now)
            case ev.ProviderFailed():
                self._on_provider_failed(event, now, out)
            case ev.Answered():
                self._on_answered(now, out)
            case ev.MediaStarted():
                self._ear.open(event.rate, now)
                self._media_due = None
            case ev.MediaLost():
                if self._media_due is None or event.final:
                    self._media_due = now if event.final else now + self._limits.media
            case ev.DigitPressed():
                self._key_pressed(event.digit, now, out)
            case ev.EndRequested():
                if self.phase in AWAY:
                    self._call_ends, self._is_stopping = now, True  # whoever comes back is told so
                else:
                    self._close(self._phrases.ended, now, out)
            case ev.Summarised():
                self._summarised(event)
            case ev.BudgetSpent(scope):
                self._spent = self._spent or scope
            case ev.CommandFailed(what="answer"):
                self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
            case ev.HungUp():
                self._on_hung_up(now, out)
            case _:
                pass

    def _on_answered(self, now: float, out: list[Action]) -> None:
        if self.phase is not Phase.WAITING:
            return
        self._begin_time(now)
        if not self._ear.is_open:
            self._media_due = now + self._limits.media
        if self._phrases.greeting and not self._spent:
            self._say(Kind.GREETING, self._phrases.greeting, now, out, name="greeting")
        else:
            self._enter(Phase.LISTENING, now)

    def _on_audio(self, pcm: bytes, now: float, out: list[Action]) -> bool:
        """Whether the frame changed more than the time of the last frame."""
        if self.phase in DEAF:
            return False
        is_yielding = self.phase is Phase.YIELDING
        over_agent = self.phase is Phase.SPEAKING or (is_yielding and self._hesitate != "pause")
        change = self._ear.hear(pcm, now, over_agent=over_agent)
        if (current := self._utterances.open_number) is not None:
            out.append(SendAudio(current, pcm))
            if change is Change.ENDED:
                self._close_utterance(now, out)
            elif (is_yielding and self._is_won_by_voice(now, out)) or (
                self._partial is not None and self._guess_if_due(now, out)
            ):
                return True
        elif change is Change.BEGAN:
            self._open_utterance(now, out)
        return change is not None

    def _on_played(self, event: ev.Played, now: float, out: list[Action]) -> None:
        turn, clip, heard = event.turn, event.clip, event.heard
        self._ended(turn, clip, now)
        if (current := self._current(turn)) and (counted := current.played(clip, heard, now)) is not None:
            self.transcript.heard(turn, clip, counted)
            self._heard_on(current, clip, now)
            self._advance(current, now, out)
            return
        self.transcript.heard(turn, clip, heard)
        if settled := self._settling.played(turn, clip, heard, now):
            self._measure(settled, out, interrupted=True)
        self._think(now, out)

    def _on_transcribed(self, event: ev.Transcribed, now: float, out: list[Action]) -> None:
        number = event.utterance
        if not self._utterances.is_known(number):
            return
        if number == self._utterances.open_number:
            self._ear.understood(event.text, now)
            self._partial_words(number, event.text, now, out)
            if event.final:
                self._close_utterance(now, out)  # whoever recognises it listens no more
        over = self._utterances.spoken_over(number)
        matters = not over or self._matters(over, event, now, out)
        if not event.final or not self._utterances.settle(number, now):
            return
        if matters:
            is_answered = self._guess_settled(number, event.text, now, out)
            if not self._said_instead(event.text, out):
                self.transcript.understood(number, event.text)
            if not is_answered:
                self._think(now, out)
        else:
            self._dismiss(now, out)

    def _on_provider_failed(self, event: ev.ProviderFailed, now: float, out: list[Action]) -> None:
        if event.stage == "stt":
            self._stt_failed(event.number, event.retryable, now, out)
        elif event.stage == "llm":
            if turn := self._writing(event.number, event.ask):
                self._llm_failed(turn, event.retryable, now, out)
        elif (turn := self._current(event.number)) is None:
            self._briefing_failed(event.number, now, out)
        elif turn.is_waited_for(event.clip):
            self._tts_failed(turn, event.clip, event.retryable, now, out)

    def _writing(self, number: int, ask: int) -> Turn | None:
        """The turn in flight, if the model is still to say something to what it was asked with ``ask``."""
        turn = self._current(number)
        is_awaited = turn is not None and turn.asks == ask and not turn.text_ended and turn.errands.is_writing
        return turn if is_awaited else None

    def _on_hung_up(self, now: float, out: list[Action]) -> None:
        if self._turn is not None:
            self._abandon(self._turn, now, out, stop=False)
        out.extend(AbandonUtterance(number) for number in self._utterances.abandon_all())
        self._settle_all(out)
        self._enter(Phase.OVER, now)

    # The caller speaks

    def _open_utterance(self, now: float, out: list[Action]) -> None:
        self._interrupt(now, out)
        if self._turn is None:
            self._enter(Phase.HEARING, now)
        over = self._turn.number if self._turn is not None and self.phase is Phase.YIELDING else 0
        number = self._utterances.begin(now, over)
        self.transcript.open_utterance(number)
        self._silences = 0
        out.append(OpenUtterance(number))
        out.append(SendAudio(number, self._ear.pre_roll()))
