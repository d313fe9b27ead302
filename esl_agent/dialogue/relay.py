"""Turn taking for a speech-to-speech agent, which listens, thinks and speaks by itself. Beside it stands the cascade.

The agent decides when the caller has ended and what it answers; whose turn it is on the telephone is decided here: what
is heard of its responses, what it is told was heard, and everything that is no conversation. The same three members and
``turn_number`` as a Cascade's: one ``call.py`` drives both.

Laws (each has a property test of the same name in tests/pure/test_relay_laws.py):

1. No agent is connected before Answered (nothing is spent on early media), nor after the call has left us.
2. Sound that comes late is never heard: nothing of a response that was interrupted, is over, or is another session's.
3. At most one turn sounds; the parts of its responses play in the order in which they came, each once.
4. What is truncated was heard in part: never at 0, never beyond what was received, never what was heard to its end.
   What is forgotten was not heard at all, and everything of an interrupted response that was not heard is forgotten.
5. No response is asked for while one is under way, or awaited.
6. Every phase but OVER has a deadline.
7. After HungUp the machine returns nothing, for ever. A silent world ends in OVER.
8. A call is hung up or handed over only after its last words were heard, or their bounded wait ran out. Whoever has
   been handed over is not spoken to or listened to.
9. History holds what the caller heard; one that a session begins with also what is being said.
10. Each call of a tool is answered at most once, all calls of a response together.
11. A filler is said while nobody speaks and something is awaited; whatever came before its sound is said instead.
12. The caller's sound goes to a connected session only, and of sessions at most one is connected and one connecting.

Time is an argument: ``receive(event, now)`` with a monotonic ``now``, and ``next_deadline`` says when ``Tick`` is due.
"""

from __future__ import annotations

from esl_agent.dialogue import events as ev
from esl_agent.dialogue.actions import Action, SendToAgent
from esl_agent.dialogue.cascade import DUE_AT_ONCE
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.duties import DEAF
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_deadlines import RelayDeadlines
from esl_agent.dialogue.relay_settings import RelaySettings
from esl_agent.dialogue.relay_state import Ask, saying
from esl_agent.dialogue.settings import CascadeSettings
from esl_agent.dialogue.tools import Toolbox
from esl_agent.dialogue.turn import Kind

#: The caller's speeches whose words may still come.
KNOWN = 200
#: Characters of the caller's words in one speech.
MAX_WORDS = 5000


class Relay(RelayDeadlines):
    """One call's dialogue. Not thread-safe: one greenlet calls ``receive``.

    ``streams``: the leg's media does (``MediaStream.streams``). ``language``: the caller's, a BCP 47 tag.
    ``toolbox``: the DID's, made from its settings if not given.
    """

    def __init__(
        self,
        settings: CascadeSettings,
        relay: RelaySettings,
        now: float,
        *,
        streams: bool = False,
        language: str = "en",
        toolbox: Toolbox | None = None,
    ) -> None:
        if toolbox is None:
            toolbox = Toolbox(settings.tools, Policy(settings.destinations, settings.transfer), (language,))
        super().__init__(settings, relay, now, toolbox, language=language)
        self._prepare()
        self._has_media = False
        self._speeches: dict[tuple[int, str], int] = {}
        self._speech_count = 0
        self._call_ends = now + self._limits.answer
        self.next_deadline: float | None = self._call_ends
        """When Tick is wanted; None only in OVER."""

    # Public

    def receive(self, event: ev.Event, now: float) -> list[Action]:
        """Account for one fact; the orders that follow from it, in order. Never raises on late or odd events."""
        if self.phase is Phase.OVER:
            return []
        out: list[Action] = []
        if type(event) is ev.Audio:
            self._on_audio(event.pcm, out)
            if self.next_deadline is None or now < self.next_deadline:
                return out
        else:
            self._on_event(event, now, out)
            self._go_on(now, out)
        due = self._deadline()
        for _ in range(DUE_AT_ONCE):
            if due is None or now < due:
                break
            self._overdue(now, out)
            self._go_on(now, out)
            due = self._deadline()
        self.next_deadline = due
        return out

    # Events

    def _on_event(self, event: ev.Event, now: float, out: list[Action]) -> None:
        match event:
            case ev.AgentText():
                self._on_text(event, now)
            case ev.AgentSpeaks():
                self._on_speaks(event, now)
            case ev.AgentSpoke(session, response, item):
                self._on_spoke(session, response, item, now)
            case ev.AgentResponding(session, response):
                self._on_responding(session, response, now, out)
            case ev.AgentResponded():
                self._on_responded(event, now, out)
            case ev.CallerSpeaks(session, item):
                self._on_caller_speaks(session, item, now, out)
            case ev.CallerPaused(session, item):
                if self._caller == (session, item):
                    self._pauses(now)
            case ev.CallerSaid(session, item, text):
                self._on_caller_said(session, item, text)
            case ev.AgentConnected(session):
                self._on_connected(session, now, out)
            case ev.AgentClosed():
                self._on_closed(event, now, out)
            case ev.Played(turn, clip, heard):
                self._on_played(turn, clip, heard, now, out)
            case ev.PlaybackBegan(turn, clip):
                self._began(turn, clip, now)
            case ev.ToolReturned(turn, id, result, failed):
                self._on_tool_returned(turn, id, result, failed, now, out)
            case _:
                self._on_line_event(event, now, out)

    def _on_line_event(self, event: ev.Event, now: float, out: list[Action]) -> None:
        """The line, the DID's own voice, and what others want of the call."""
        match event:
            case ev.Answered():
                self._on_answered(now, out)
            case ev.MediaStarted():
                self._has_media, self._media_due = True, None
                self._kept.clear()
            case ev.MediaLost(_, final):
                self._has_media = False
                if self._media_due is None or final:
                    self._media_due = now if final else now + self._limits.media
            case ev.Synthesised() | ev.SynthesisEnded():
                self._voiced(event, now, out)
            case ev.ProviderFailed("tts", number, _, retryable, clip):
                if (turn := self._turn) is None or turn.number != number:
                    self._briefing_failed(number, now, out)
                elif turn.is_waited_for(clip):
                    self._clip_failed(turn, clip, retryable, now, out)
            case ev.DigitPressed(digit):
                self._key_pressed(digit, now, out)
            case ev.Transferred(name):
                self._transferred(name, now, out)
            case ev.TransferFailed(name, reason):
                self._transfer_came_back(name, reason, now, out)
            case ev.EndRequested():
                if self.phase in AWAY:
                    self._call_ends, self._is_stopping = now, True  # whoever comes back is told so
                else:
                    self._close(self._phrases.ended, now, out)
            case ev.BudgetSpent(scope):
                self._spent = self._spent or scope
            case ev.CommandFailed(what="answer"):
                self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
            case ev.HungUp():
                self._leave(now, out)
                self._enter(Phase.OVER, now)
            case _:
                pass

    def _on_answered(self, now: float, out: list[Action]) -> None:
        if self.phase is not Phase.WAITING:
            return
        self._begin_time(now)
        if not self._has_media:
            self._media_due = now + self._limits.media
        self._enter(Phase.THINKING, now)
        if self._spent:
            self._wind_up(now, out)
            return
        self._connect(now, out)
        greeting = self._phrases.greeting
        if self._greets_by_voice:
            self._say(Kind.GREETING, greeting, now, out, name="greeting")
        elif greeting:
            self._wish = Ask(Kind.GREETING, saying(greeting), "greeting")

    def _voiced(self, event: ev.Synthesised | ev.SynthesisEnded, now: float, out: list[Action]) -> None:
        """The DID's own voice has made something."""
        turn = self._turn
        if turn is None or turn.number != event.turn:
            self._briefing_sounds(event, now, out)
        elif isinstance(event, ev.Synthesised):
            turn.synthesised(event.clip, event.audio, now)
        elif self._item_of(turn.number, event.clip) is None and (clip := turn.synthesis_ended(event.clip, now)):
            self.transcript.lasts(turn.number, clip.number, clip.seconds)

    # The caller

    def _on_audio(self, pcm: bytes, out: list[Action]) -> None:
        """The agent hears the caller whenever somebody is to; of what comes while it is not there, the newest."""
        if self.phase in DEAF:
            return
        if (session := self._sessions.serving) is not None:
            out.append(SendToAgent(session, pcm))
        elif self._sessions.count > 1 or self._greets_by_voice or not self._phrases.greeting:
            self._kept.append(pcm)

    def _on_caller_speaks(self, session: int, item: str, now: float, out: list[Action]) -> None:
        if session != self._sessions.serving or self.phase in DEAF or (session, item) in self._speeches:
            return
        self._open_speech(session, item)
        self._caller = (session, item)
        self._silences = self._used = self._refused = self._told = 0
        self._hold_ends = 0.0
        self._speech_ended = None
        turn = self._turn
        if turn is not None and not self._may_interrupt(turn):
            turn.drop_unheard_fillers()
            return
        self._wish = self._wish if self._is_due_anyway(self._wish) else None
        self._asked = self._asked if self._is_due_anyway(self._asked) else None
        if self._question is not None:
            self._answer_question(self._question, " and speaks instead", now, out)
        if turn is not None:
            self._interrupt(turn, now, out)

    def _on_caller_said(self, session: int, item: str, text: str) -> None:
        if not 1 <= session <= self._sessions.count:
            return
        if (session, item) not in self._speeches:
            self._open_speech(session, item)
        self.transcript.understood(self._speeches[session, item], text[:MAX_WORDS])

    def _open_speech(self, session: int, item: str) -> None:
        """Words keep the place at which their speech began."""
        self._speech_count += 1
        self._speeches[session, item] = self._speech_count
        self.transcript.open_utterance(self._speech_count)
        while len(self._speeches) > KNOWN:
            del self._speeches[next(iter(self._speeches))]
