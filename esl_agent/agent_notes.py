"""What of a speech-to-speech agent goes into a call's journal: words are private, the service's names are not."""

from __future__ import annotations

from esl_agent.dialogue import actions as act
from esl_agent.dialogue import events as ev
from esl_agent.journal import Journal, Private


def note_event(journal: Journal, event: ev.Event, now: float) -> None:
    match event:
        case ev.AgentConnected(session):
            journal.note("agent_connected", now, session=session)
        case ev.AgentClosed(session, error, retryable, expired):
            journal.note("agent_closed", now, session=session, error=error, retryable=retryable, expired=expired)
        case ev.AgentResponding(session, response):
            journal.note("agent_responding", now, session=session, response=response)
        case ev.AgentSpeaks(session, _, item, audio, part, at) if not part:
            journal.note("agent_speaks", now, session=session, item=item, at=at, seconds=audio.seconds)
        case ev.AgentResponded(session, response, status, calls, error):
            told = {"error": error} if error else {}
            journal.note("agent_responded", now, session=session, response=response, status=status, **told)
            for call in calls:
                arguments = Private(str(dict(call.arguments)))
                journal.note("tool", now, session=session, name=call.name, arguments=arguments)
        case ev.CallerSpeaks(session, item):
            journal.note("speech", now, session=session, item=item)
        case ev.CallerPaused(session, item):
            journal.note("speech_ended", now, session=session, item=item)
        case ev.CallerSaid(session, item, text):
            journal.note("caller", now, session=session, item=item, text=Private(text))
        case _:
            pass


def note_action(journal: Journal, action: act.Action, now: float) -> None:
    match action:
        case act.ConnectAgent(session, _, _, history):
            journal.note("connect_agent", now, session=session, history=len(history))
        case act.AskAgent(session, instructions):
            journal.note("ask_agent", now, session=session, instructions=Private(instructions))
        case act.TellAgent(session, text):
            journal.note("tell_agent", now, session=session, text=Private(text))
        case act.CancelReply(session, response):
            journal.note("cancel_reply", now, session=session, response=response)
        case act.TruncateReply(session, item, heard):
            journal.note("truncate_reply", now, session=session, item=item, heard=heard)
        case act.ForgetReply(session, item):
            journal.note("forget_reply", now, session=session, item=item)
        case act.CloseAgent(session):
            journal.note("close_agent", now, session=session)
        case _:
            pass
