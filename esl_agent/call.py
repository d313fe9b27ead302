"""One call: its mailbox, its dialogue, its workers. The only owner of a call's state.

The call's greenlet runs ``Call.run``: it takes events from the mailbox, gives them to the dialogue, and carries out
the actions that come back. Carrying out never blocks: it sends, spawns or kills.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent

from esl_agent import agent_notes
from esl_agent.agent_line import AgentLine
from esl_agent.costs import CallCosts, Passed, shown
from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.phase import Phase
from esl_agent.dialogue.relay import Relay
from esl_agent.journal import Journal, Private
from esl_agent.legs.base import CallLeg, Clip, MediaStream
from esl_agent.mailbox import Mailbox
from esl_agent.transfers import CallTransfers
from esl_agent.workers import Workers

log = logging.getLogger(__name__)

#: After our hang-up the switch may take this long to say that the call is over.
HANG_UP_SECONDS = 5.0

#: Steps of a turn in the journal: what each took, from which step to which.
SPANS = {
    "endpointing": ("speech_ended", "endpoint"),
    "stt": ("endpoint", "transcript"),
    "llm": ("asked", "first_text"),
    "clause": ("first_text", "first_clause"),
    "tts": ("first_clause", "first_audio"),
    "ready": ("first_audio", "play"),
    "playback": ("play", "began"),
    "latency": ("speech_ended", "began"),
    "speaking": ("began", "heard"),
    "barge_in": ("interrupted_onset", "interrupted"),
    "silence": ("interrupted", "silent"),
    "confirmed": ("interrupted_onset", "confirmed"),
    "resumed": ("interrupted_onset", "resumed"),
}

#: Actions of which there are fifty a second.
FRAMES = (act.SendAudio, act.SendToAgent)

#: What it means that one phase follows another, in the journal's words.
TURNS_OF_THE_FLOOR = {
    (Phase.SPEAKING, Phase.YIELDING): "yield",
    (Phase.YIELDING, Phase.SPEAKING): "resumed",
    (Phase.YIELDING, Phase.HEARING): "confirmed",
    (Phase.YIELDING, Phase.THINKING): "confirmed",
}


class Call:
    """Built by the server, run once."""

    def __init__(
        self,
        leg: CallLeg,
        media: MediaStream,
        dialogue: Cascade | Relay,
        workers: Workers,
        mailbox: Mailbox,
        journal: Journal,
        transfers: CallTransfers | None = None,
        costs: CallCosts | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        agent: AgentLine | None = None,
    ) -> None:
        """``transfers``: without it every transfer is refused. ``costs``: who is told by the engines' CallContext.
        ``agent``: without it there is no speech-to-speech agent, and ``dialogue`` asks for none."""
        self.leg = leg
        self.media = media
        self.dialogue = dialogue
        self.journal = journal
        self.mailbox = mailbox
        self._workers = workers
        self._agent = agent
        self._transfers = transfers
        self.costs = costs
        self._shown: dict[str, str] = {}
        self._clock = clock
        self._ends_by: float | None = None
        self._is_over = False
        self._now = clock()
        self._perform: dict[type, Callable[[Any], None]] = {
            act.SendAudio: lambda a: workers.send_audio(a.utterance, a.pcm),
            act.OpenUtterance: lambda a: workers.open_utterance(a.utterance),
            act.CloseUtterance: lambda a: workers.close_utterance(a.utterance),
            act.RetryUtterance: lambda a: workers.retry_utterance(a.utterance),
            act.AbandonUtterance: lambda a: workers.abandon_utterance(a.utterance),
            act.AskModel: lambda a: workers.ask_model(a.turn, a.messages, a.tools, a.ask),
            act.Summarise: lambda a: workers.summarise(a.number, a.messages),
            act.AbandonSummary: lambda a: workers.abandon_summary(),
            act.RunTool: lambda a: workers.run_tool(a.turn, a.call),
            act.Synthesise: lambda a: workers.synthesise(a.turn, a.clip, a.text),
            act.AbandonTurn: lambda a: workers.abandon_turn(a.turn),
            act.Play: lambda a: media.play(Clip(a.turn, a.clip, a.audio, a.start)),
            act.SetVolume: lambda a: media.volume(a.gain),
            act.StopPlayback: lambda a: media.clear(),
            act.Transfer: self._transfer,
            act.SendDigits: lambda a: leg.send_digits(a.digits),
            act.SetVariable: lambda a: leg.set_variable(a.name, a.value),
            act.SwitchLanguage: lambda a: workers.switch_language(a.language),
            act.Gathered: lambda a: None,
            act.HangUp: self._hang_up,
            act.Measured: self._measured,
        }
        if agent is not None:
            self._perform |= {
                act.SendToAgent: lambda a: agent.send_audio(a.session, a.pcm),
                act.ConnectAgent: agent.connect,
                act.AskAgent: lambda a: agent.ask(a.session, a.instructions, a.is_last, a.interruptible),
                act.TellAgent: lambda a: agent.tell(a.session, a.text),
                act.ReturnTools: lambda a: agent.return_tools(a.session, a.results),
                act.CancelReply: lambda a: agent.cancel(a.session, a.response),
                act.TruncateReply: lambda a: agent.truncate(a.session, a.item, a.heard),
                act.ForgetReply: lambda a: agent.forget(a.session, a.item),
                act.CloseAgent: lambda a: agent.close_session(a.session),
            }

    def run(self) -> None:
        """Answer the call and see it through to its end. Returns when nothing of it is left."""
        try:
            self._costs_changed(self._clock())
            self.leg.answer()
            for event in self.mailbox.until(self._deadline):
                self._handle(event, self._clock())
            self._settle_costs()
        finally:
            if self._transfers is not None:
                self._transfers.close()
            self._workers.close()
            if self._agent is not None:
                self._agent.close()
            self.media.close()
            self.leg.close()
            self.mailbox.close()
            self._perform.clear()

    def end(self, reason: str) -> None:
        """Ask the dialogue to end the call politely (drain). May be called from any greenlet."""
        self.mailbox.post(ev.EndRequested(reason))

    def _deadline(self) -> float | None:
        if self._is_over:
            return None
        return self.dialogue.next_deadline if self._ends_by is None else self._ends_by

    def _handle(self, event: ev.Event, now: float) -> None:
        self._now = now
        if type(event) is not ev.Audio:
            self._before(event, now)
        phase = self.dialogue.phase
        for action in self.dialogue.receive(event, now):
            if type(action) not in FRAMES:
                self._note(action, now)
            self._perform[type(action)](action)
        if self.dialogue.phase is not phase:
            self._phase_changed(phase, now)

    def _before(self, event: ev.Event, now: float) -> None:
        """What the call itself does about an event, besides telling the dialogue."""
        journal = self.journal
        match event:
            case ev.Answered():
                journal.note("answered", now)
                self.media.start()
            case ev.HungUp(cause):
                self._is_over = True
                journal.note("hung_up", now, cause=cause)
            case ev.Tick() if self._ends_by is not None and now >= self._ends_by:
                self._is_over = True
                journal.note("lost", now, reason=f"no hang-up event within {HANG_UP_SECONDS:g} s")
            case ev.Transcribed(utterance, text, True):
                journal.note("caller", now, utterance=utterance, text=Private(text))
            case ev.MediaStarted(rate):
                if self._agent is not None:
                    self._agent.line_has(rate)
                journal.note("media", now, rate=rate)
            case ev.MediaLost(reason, final):
                journal.note("media_lost", now, reason=reason, final=final)
            case ev.Summarised(number, text):
                journal.note("summarised", now, number=number, characters=len(text), text=Private(text))
            case ev.ToolCalled(turn, call):
                journal.note("tool", now, turn=turn, name=call.name, arguments=Private(str(dict(call.arguments))))
            case ev.ToolReturned(turn, _, result, failed):
                journal.note("tool_returned", now, turn=turn, failed=failed, result=Private(result))
            case ev.Transferred() | ev.TransferFailed():
                self._transfer_ended(event, now)
            case ev.DigitPressed(digit):
                journal.note("digit", now, digit=Private(digit))
            case ev.ProviderFailed(stage, number, error):
                journal.note("provider_failed", now, stage=stage, number=number, error=error)
            case ev.CommandFailed(what, reply):
                journal.note("command_failed", now, command=what, reply=reply)
            case ev.EngineSwitched(stage, before, after, reason):
                journal.note("switched", now, stage=stage, before=before, after=after, reason=reason)
                self.leg.announce("esl_agent::engine", {"stage": stage, "before": before, "after": after})
            case ev.EngineUsed(stage, name):
                journal.note("used", now, stage=stage, name=name, **_counted(event))
                self._costs_changed(now)
            case ev.EndRequested(reason):
                journal.note("end_requested", now, reason=reason)
            case ev.PlaybackBegan(turn, clip):
                journal.note("began", now, turn=turn, clip=clip)
            case ev.Played(turn, clip, heard):
                journal.note("played", now, turn=turn, clip=clip, heard=heard)
            case _:
                agent_notes.note_event(journal, event, now)

    def _note(self, action: act.Action, now: float) -> None:
        match action:
            case act.Summarise(number):
                self.journal.note("summarise", now, number=number)
            case act.OpenUtterance(utterance):
                self.journal.note("speech", now, utterance=utterance)
            case act.CloseUtterance(utterance):
                self.journal.note("speech_ended", now, utterance=utterance)
            case act.Play(turn, clip, audio, start):
                self.journal.note("play", now, turn=turn, clip=clip, seconds=audio.seconds, start=start)
            case act.Synthesise(turn, clip, text):
                self.journal.note("clause", now, turn=turn, clip=clip, text=Private(text))
            case act.Transfer(name, _, mode):
                self.journal.note("transfer", now, name=name, mode=mode)
                self.leg.announce("esl_agent::transfer", {"name": name, "mode": mode, "result": "began"})
            case act.SendDigits(digits):
                self.journal.note("send_digits", now, digits=Private(digits))
            case act.Gathered(digits):
                self.journal.note("digits", now, digits=Private(digits))
            case act.SetVariable(name, value):
                self.journal.note("variable", now, name=name, value=Private(value))
            case act.SwitchLanguage(language):
                self.journal.note("language", now, language=language)
            case act.StopPlayback():
                self.journal.note("stop_playback", now)
            case act.HangUp(cause):
                self.journal.note("hang_up", now, cause=cause)
            case _:
                agent_notes.note_action(self.journal, action, now)

    def _phase_changed(self, before: Phase, now: float) -> None:
        phase = self.dialogue.phase
        if what := TURNS_OF_THE_FLOOR.get((before, phase)):
            self.journal.note(what, now, turn=self.dialogue.turn_number)
        if phase is Phase.HOLDING:
            self.journal.note("hold", now)
        self.journal.note("phase", now, phase=phase.value)
        if phase is not Phase.OVER:
            self._show({"esl_agent_state": phase.value, "esl_agent_turn": str(self.dialogue.turn_number)})

    def _transfer(self, action: act.Transfer) -> None:
        if self._transfers is None:
            self.mailbox.post(ev.TransferFailed(action.name, "refused"))
        else:
            self._transfers.start(action)

    def _transfer_ended(self, event: ev.Transferred | ev.TransferFailed, now: float) -> None:
        if self._transfers is not None:
            self._transfers.on_event(event)
        if isinstance(event, ev.Transferred):
            self.media.close()  # two people talk: a fork that is left open starts itself again
            self.journal.note("transferred", now, name=event.name)
            result = "transferred"
        else:
            self.journal.note("transfer_failed", now, name=event.name, reason=event.reason)
            result = event.reason
        self.leg.announce("esl_agent::transfer", {"name": event.name, "result": result})

    def _hang_up(self, action: act.HangUp) -> None:
        self._ends_by = self._clock() + HANG_UP_SECONDS
        self._show({})
        self.leg.hang_up(action.cause)

    # What it costs

    def _costs_changed(self, now: float) -> None:
        """Something was used: a budget may be passed."""
        if self.costs is None:
            return
        for passed in self.costs.news():
            self._budget_passed(passed, now)
        if self.dialogue.phase is Phase.SPEAKING:  # in any other phase, the next one is near
            self._show({})

    def _show(self, values: dict[str, str]) -> None:
        """``values``, and what the call has used since the last time: the CDR has them whoever hangs up, and when."""
        if self.costs is not None and self.costs.parts:
            variables = self.costs.variables()
            values |= {name: value for name, value in variables.items() if self._shown.get(name) != value}
            self._shown = variables
        if values:
            self.leg.show(values)

    def _budget_passed(self, passed: Passed, now: float) -> None:
        spent = shown(passed.spent)
        facts = {"scope": passed.scope, "limit": passed.is_limit, "amount": passed.amount, "spent": spent}
        self.journal.note("budget", now, **facts)
        self.leg.announce("esl_agent::budget", {name: str(value).lower() for name, value in facts.items()})
        if passed.is_first:
            log.warning("call=%s %s", self.journal.call_id, passed)
        if passed.is_limit:
            self.mailbox.post(ev.BudgetSpent(passed.scope))

    def _settle_costs(self) -> None:
        """The call is over: what its engines are in the middle of counts too."""
        self._workers.close()
        if self._agent is not None:
            self._agent.close()
        gevent.sleep(0)  # those who were stopped say what they had used
        if self.costs is None or not self.costs.parts:
            return
        sums = {name.removeprefix("esl_agent_"): value for name, value in self.costs.variables().items()}
        money = {"currency": self.costs.tariff.currency} if self.costs.tariff else {}
        self.journal.note("costs", self._clock(), **sums, **money)
        self.leg.announce("esl_agent::costs", {**sums, **money, **self.costs.providers()})

    def _measured(self, turn: act.Measured) -> None:
        spans = {
            name: turn.steps[end] - turn.steps[start]
            for name, (start, end) in SPANS.items()
            if start in turn.steps and end in turn.steps
        }
        self.journal.note(
            "turn",
            self._now,
            turn=turn.turn,
            kind=turn.kind,
            interrupted=turn.interrupted,
            false_interruptions=turn.false_interruptions,
            agent=Private(turn.agent),
            **spans,
        )
        self.leg.announce(
            "esl_agent::turn",
            {
                "turn": str(turn.turn),
                "kind": turn.kind,
                "interrupted": str(turn.interrupted).lower(),
                "false_interruptions": str(turn.false_interruptions),
                **{f"{name}_ms": str(round(seconds * 1000)) for name, seconds in spans.items()},
            },
        )


def _counted(used: ev.EngineUsed) -> dict[str, int | float]:
    """What a request used up, without what does not apply to its stage."""
    counts = (
        ("input_tokens", used.input_tokens),
        ("cached_tokens", used.cached_tokens),
        ("output_tokens", used.output_tokens),
        ("audio_input_tokens", used.audio_input_tokens),
        ("cached_audio_tokens", used.cached_audio_tokens),
        ("audio_output_tokens", used.audio_output_tokens),
        ("characters", used.characters),
        ("seconds", used.seconds),
        ("estimate", int(used.is_estimate)),
    )
    return {name: count for name, count in counts if count}
