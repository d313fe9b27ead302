"""The line from one call to its speech-to-speech agent, beside ``workers.py``: one session at a time, or two while one
takes over from the other. Nothing here waits, whatever the network does.

Who is connected: the preferred agent of the list, the next one where it fails. Each is asked once for a session; the
relay asks again. One that failed this call comes behind those that did not, and one whose setup is at fault (key,
quota, name of a model) is not asked again while there is another. One that failed just now has a moment: a service
that refuses connections does so within a millisecond, and as many tries would be over before it can have come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import gevent

from esl_agent.agent_session import Connected, SessionLine
from esl_agent.audio.agent_sound import Law, chosen
from esl_agent.dialogue.actions import ConnectAgent
from esl_agent.errors import ProviderError
from esl_agent.legs.base import Post
from esl_agent.providers.accounts import ACCOUNTS, Accounts
from esl_agent.providers.base import AgentBrief, AgentSession, CallContext, RealtimeAgent, Switched, Usage, Used
from esl_agent.providers.breaker import Breaker
from esl_agent.providers.resilience_settings import ResilienceSettings

log = logging.getLogger(__name__)

#: Of the seconds that the relay waits for a connection, what we use: it is told of a failure before it gives up itself.
SHARE = 0.95
#: Seconds between two tries of one agent on a call.
AGAIN_SECONDS = 1.0
#: Sessions of one call at a time: one that serves, one that takes over.
MAX_SESSIONS = 2


class AgentLine:
    """Made for a call, ``close``d at its end. Orders for a session that is over are dropped."""

    def __init__(
        self,
        agents: Sequence[RealtimeAgent],
        rate: int,
        post: Post,
        context: CallContext,
        *,
        patience: float = 5.0,
        streams: bool = False,
        law: Law = "ulaw",
        settings: ResilienceSettings | None = None,
        accounts: Accounts = ACCOUNTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``agents``: at least one, the preferred first. ``rate``: the line's samples a second. ``patience``: seconds
        for a session to be connected. ``streams``: the leg plays sound while it grows. ``law``: which G.711 an 8 kHz
        line gets. ``accounts``: what all calls know of the agents, and how many sessions an account has."""
        self._agents = tuple(agents)
        self._rate = rate
        self._post = post
        self._context = context
        self._patience = patience * SHARE
        self._streams = streams
        self._law = law
        self._settings = settings or ResilienceSettings()
        self._accounts = accounts
        self._clock = clock
        self._sessions: dict[int, SessionLine] = {}
        self._failed: dict[int, bool] = {}
        """Agents that failed this call, the latest last, and whether their setup is at fault."""
        self._tried_at: dict[int, float] = {}
        self._serving = self._agents[0].identity.name
        self._is_closed = False

    def line_has(self, rate: int) -> None:
        """The caller's frames have ``rate`` samples a second from now on; a session keeps its format."""
        self._rate = rate

    def connect(self, action: ConnectAgent) -> None:
        """Begin session ``action.session``; AgentConnected or AgentClosed follows."""
        if self._is_closed:
            return
        self.close_session(action.session)
        for old in sorted(self._sessions)[: len(self._sessions) + 1 - MAX_SESSIONS]:
            self.close_session(old)
        self._sessions[action.session] = SessionLine(
            action.session,
            lambda: self._connected(action),
            self._post,
            self._used,
            streams=self._streams,
            call_id=self._context.id,
        )

    def send_audio(self, session: int, pcm: bytes) -> None:
        """A frame of the caller's, PCM16 at the line's rate."""
        if line := self._sessions.get(session):
            line.hear(pcm, self._rate)

    def ask(self, session: int, instructions: str, is_last: bool = False, interruptible: bool = True) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.respond(instructions, is_last=is_last, interruptible=interruptible))

    def tell(self, session: int, text: str) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.tell(text))

    def return_tools(self, session: int, results: tuple[tuple[str, str], ...]) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.return_tools(results))

    def cancel(self, session: int, response: str) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.cancel(response))

    def truncate(self, session: int, item: str, heard: float) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.truncate(item, heard))

    def forget(self, session: int, item: str) -> None:
        if line := self._sessions.get(session):
            line.order(lambda agent: agent.forget(item))

    def close_session(self, session: int) -> None:
        """Nothing of it is wanted any more, AgentClosed neither."""
        if line := self._sessions.pop(session, None):
            line.close()

    def close(self) -> None:
        """The call is over. Idempotent; does not wait for the connections to be closed."""
        self._is_closed = True
        for session in list(self._sessions):
            self.close_session(session)

    # In a session's greenlet

    def _connected(self, action: ConnectAgent) -> Connected:
        """The first of the agents that can be reached, each within its share of what time is left. Raises the last
        one's ProviderError."""
        until = self._clock() + self._patience
        order, is_retryable = self._order(), False
        error = ProviderError("agent", "there is none to ask", blame="setup")
        for position, index in enumerate(order):
            self._let_rest(index, until)
            self._tried_at[index] = self._clock()
            try:
                return self._attempt(index, action, (until - self._clock()) / (len(order) - position))
            except ProviderError as failed:
                error = failed
            log.warning("call=%s agent %s: %s", self._context.id, self._agents[index].identity.name, error)
            self._failed.pop(index, None)
            self._failed[index] = error.blame == "setup"
            is_retryable = is_retryable or error.retryable
        error.retryable = is_retryable
        raise error

    def _let_rest(self, index: int, until: float) -> None:
        """If it failed the call just now. Of what time is left, half at most."""
        if index in self._failed:
            now = self._clock()
            gevent.sleep(max(0.0, min(self._tried_at[index] + AGAIN_SECONDS - now, (until - now) / 2)))

    def _order(self) -> list[int]:
        """Whom to ask, as the budget has it: first who failed neither this call nor others lately."""
        names = tuple(dict.fromkeys(agent.identity.name for agent in self._agents))
        affordable = self._context.affordable("agent", names)
        found = [index for name in affordable for index, each in enumerate(self._agents) if each.identity.name == name]
        late = list(self._failed)

        def place(index: int) -> tuple[bool, int]:
            return not self._breaker(index).admits, late.index(index) if index in late else -1

        found.sort(key=place)
        return [index for index in found if not self._failed.get(index)] or found[:1]

    def _breaker(self, index: int) -> Breaker:
        return self._accounts.breaker("agent", self._agents[index].identity)

    def _attempt(self, index: int, action: ConnectAgent, seconds: float) -> Connected:
        """Connect one agent; its slot is held until the session has ended."""
        agent, until = self._agents[index], self._clock() + seconds
        identity, breaker, settings = agent.identity, self._breaker(index), self._settings
        sound = chosen(agent.formats, self._rate, self._law)
        brief = AgentBrief(action.instructions, sound, action.tools, action.history, action.interruptible)
        of_agents = replace(identity, account=f"agent {identity.account or identity.name}")
        with ExitStack() as held:
            slots = self._accounts.slots("agent", of_agents)
            held.enter_context(slots.one("agent", identity.at_once, min(settings.slot, max(0.0, seconds))))
            is_probe = breaker.begin()
            try:
                session = _within(until - self._clock(), lambda: agent.connect(brief))
            except ProviderError as error:
                breaker.failed(is_probe, error.blame, str(error), settings.breaker)
                raise
            except BaseException:
                breaker.let_go(is_probe)
                raise
            breaker.succeeded(is_probe)
            release = held.pop_all().close
        self._failed.pop(index, None)
        self._serves(identity.name)
        return Connected(session, sound, identity.name, release, lambda error: self._broke(index, error))

    def _broke(self, index: int, error: ProviderError) -> None:
        """Who served may do so no more: then another one may, if there is one that can."""
        if not error.retryable and error.code != "session_expired":
            self._failed.pop(index, None)
            self._failed[index] = True
            error.retryable = any(not self._failed.get(other) for other in range(len(self._agents)))

    def _serves(self, name: str) -> None:
        before, self._serving = self._serving, name
        if before != name:
            self._context.tell(Switched("agent", before, name, "it could not be connected or go on, or is too dear"))

    def _used(self, name: str, usage: Usage) -> None:
        self._context.tell(Used("agent", name, usage))


def _within(seconds: float, connect: Callable[[], AgentSession]) -> AgentSession:
    deadline = gevent.Timeout(max(0.0, seconds))
    deadline.start()
    try:
        return connect()
    except gevent.Timeout as passed:
        if passed is not deadline:
            raise
        raise ProviderError("agent", f"not connected within {seconds:.1f} s", retryable=True) from None
    finally:
        deadline.close()
