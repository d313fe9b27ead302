"""Every wait of a call with a speech-to-speech agent ends: when something is overdue, and what is done then."""

from __future__ import annotations

import math

from esl_agent.dialogue.actions import AbandonTurn, Action, StopPlayback
from esl_agent.dialogue.phase import AWAY, Phase
from esl_agent.dialogue.relay_state import Ask, saying
from esl_agent.dialogue.relay_waiting import RelayWaiting
from esl_agent.dialogue.turn import Kind, Turn

#: Speech that goes on for longer has ended, and nobody has told us.
MAX_SPEECH = 120.0


class RelayDeadlines(RelayWaiting):
    """A floor on which nothing is waited for for ever."""

    def _deadline(self) -> float | None:
        """The first of all deadlines, as of now."""
        match self.phase:
            case Phase.OVER:
                return None
            case Phase.WAITING:
                return self._call_ends
            case Phase.TRANSFERRING | Phase.HANDED_OVER:
                return min(self._away_due(), self._sessions.due, self._settling.due)
            case Phase.CLOSING:
                reply_due = self._reply_due() if self._awaits_reply else math.inf
                return min(self._closing_ends, self._aloud_at, self._turn_due(), self._settling.due, reply_due)
        due = [self._call_ends, self._keys_due(), self._turn_due(), self._settling.due, self._tools_due()]
        due += [self._sessions.due, self._filler_due()]
        if self._media_due is not None:
            due.append(self._media_due)
        if self._is_winding_up:
            due.append(self._since)
        if self._awaits_reply:
            due.append(self._reply_due())
        if self.phase is Phase.LISTENING:
            due += [self._idle_due(), self._warning_due(), max(self._sessions.ages, self._since)]
        elif self.phase is Phase.HOLDING:
            due.append(self._hold_ends)
        elif self.phase is Phase.HEARING:
            due.append(self._since + MAX_SPEECH)
        return min(due)

    def _turn_due(self) -> float:
        turn = self._turn
        return math.inf if turn is None else turn.deadline(self._limits, self._since)

    def _overdue(self, now: float, out: list[Action]) -> None:
        """Something took too long. Each case moves its own deadline, so this never spins."""
        for turn in self._settling.take(now):
            self._settled(turn, out)
        if now >= self._sessions.due:
            self._connect_overdue(now, out)
        if self.phase is Phase.WAITING:
            if now >= self._call_ends:
                self._hang_up("NORMAL_TEMPORARY_FAILURE", now, out)
        elif self.phase is Phase.CLOSING:
            self._closing_overdue(now, out)
        elif self.phase in AWAY:
            self._away_overdue(now, out)
        elif self.phase is not Phase.OVER:
            self._talk_overdue(now, out)

    def _closing_overdue(self, now: float, out: list[Action]) -> None:
        if now >= self._closing_ends:
            self._hang_up("NORMAL_CLEARING", now, out)
        elif now >= self._aloud_at:
            if self._turn is not None and (self._turn.outstanding() or self._turn.heard_any):
                self._aloud_at = math.inf
            else:
                self._close_aloud(now, out)
        elif self._awaits_reply and now >= self._reply_due():
            self._reply_overdue(now, out)
        elif self._turn is not None and now >= self._turn_due():
            self._turn_overdue(self._turn, now, out)

    def _talk_overdue(self, now: float, out: list[Action]) -> None:
        phase = self.phase
        if now >= self._call_ends:
            self._time_is_up(now, out)
        elif self._media_due is not None and now >= self._media_due:
            self._close(self._phrases.failure, now, out)
        elif self._is_winding_up:
            self._wind_up(now, out)
        elif now >= self._keys_due():
            self._keys_overdue(now, out)
        elif now >= self._tools_due():
            self._tools_overdue(now, out)
        elif self._awaits_reply and now >= self._reply_due():
            self._reply_overdue(now, out)
        elif (turn := self._turn) is not None and now >= self._turn_due():
            self._turn_overdue(turn, now, out)
        elif now >= self._filler_due():
            self._fill(now, out)
        elif phase is Phase.HOLDING and now >= self._hold_ends:
            self._break_silence(now, out)
        elif phase is Phase.HEARING and now >= self._since + MAX_SPEECH:
            self._pauses(now)
        elif phase is Phase.LISTENING:
            if now >= self._warning_due():
                self._warns_at = math.inf
                self._wish = Ask(Kind.PROMPT, saying(self._phrases.time_warning), "time_warning")
            elif now >= self._idle_due():
                self._break_silence(now, out)
            elif now >= self._sessions.ages and self._sessions.connecting is None:
                self._sessions.ages = math.inf
                self._connect(now, out)

    def _turn_overdue(self, turn: Turn, now: float, out: list[Action]) -> None:
        limits = self._limits
        if (lost := turn.overdue_playback(now, limits.playback)) is not None:
            if lost.is_stalled:
                self._abandon(turn, now, out)
                out.append(StopPlayback())
            else:
                turn.lose(lost, now)
        elif (clip := turn.overdue_clip(now, limits.tts)) is not None:
            self._clip_failed(turn, clip, True, now, out)

    def _clip_failed(self, turn: Turn, number: int, retryable: bool, now: float, out: list[Action]) -> None:
        """The DID's own voice makes nothing of a clip: what it has made is said, and fillers are not missed."""
        if turn.forgo_filler(number, now):
            return
        if retryable and turn.retry_clip(number, self._limits.retries):
            return
        out.append(AbandonTurn(turn.number))
        clip = turn.clip(number)
        if clip is not None and clip.is_stalled and turn.stop(now):
            out.append(StopPlayback())  # the leg would wait for the rest of it
        if (broken := turn.break_at(number, now)) is not None:
            self.transcript.lasts(turn.number, number, broken.text_seconds)
        turn.is_broken = False
        if not turn.clips:
            if turn.kind is Kind.GREETING:
                self._wish = Ask(Kind.GREETING, saying(self._phrases.greeting), "greeting")
            self._turn = None
            self._finish(turn, now, out)

    # The caller

    def _pauses(self, now: float) -> None:
        """The caller has ended: the agent answers by itself, or is asked to."""
        self._caller = None
        self._speech_ended = now
        reply = self._reply
        is_under_way = reply is not None and not (reply.is_dropped and self._settings.barge_in.enabled)
        if is_under_way or self._is_due_anyway(self._asked):
            self._wish = Ask()  # it cannot answer before that has ended, and speech does not end it
        else:
            self._wish = self._wish if self._is_due_anyway(self._wish) else None
            self._await(Ask(), now)
