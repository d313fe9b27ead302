"""greenswitch's names on a connection that always ends.

``Session`` and ``Listener`` are greenswitch's ``OutboundSession`` and ``OutboundESLServer`` to whoever uses them. What
lies below is ours (``esl_link``, ``esl_call``, ``esl_door``), for greenswitch's reader hangs, spins and forges headers
on what peers really send. Neither base ``__init__`` is called: it would start greenlets on the same socket.
tests/legs/test_greenswitch_defects.py holds the two together.
"""

from __future__ import annotations

from typing import Any

from gevent.event import AsyncResult
from greenswitch import OutboundESLServer
from greenswitch.esl import NotConnectedError, OutboundSession, OutboundSessionHasGoneAway

from esl_agent.errors import CommandRefused, LegClosed
from esl_agent.legs.esl_call import APPLICATION_TIMEOUT, EslCall
from esl_agent.legs.esl_door import Door
from esl_agent.legs.esl_handlers import Handler
from esl_agent.legs.esl_link import Pending
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands


class SessionGone(LegClosed, OutboundSessionHasGoneAway, NotConnectedError):
    """The call or its connection is over. Also what greenswitch's users catch."""


class Session(EslCall, OutboundSession):
    """One call under greenswitch's names.

    Here, as in greenswitch, a refusal is the reply a method returns and the call's end raises
    ``OutboundSessionHasGoneAway`` (SessionGone); unlike there, a missing answer raises CommandTimeout. Playbacks are
    sent with ``event-lock``: the next one waits for its end instead of playing inside it.
    """

    closed_error = SessionGone

    def __init__(self, client_address: Any, sock: Any, **options: Any) -> None:
        self.expected_events: dict[str, list[tuple[str, str, AsyncResult]]] = {}
        EslCall.__init__(self, client_address, sock, **options)
        self.sock = sock
        self.event_handlers = self.handlers.by_name

    def register_handle(self, name: str, handler: Handler) -> None:
        """Calls ``handler(event)`` in the handler greenlet, where it may block and send commands."""
        self.handlers.register(name, handler)

    def unregister_handle(self, name: str, handler: Handler) -> None:
        """Raises ValueError when it was not registered."""
        self.handlers.unregister(name, handler)

    def register_expected_event(self, event: str, variable: str, value: str, result: AsyncResult) -> None:
        """``result`` gets the first ``event`` whose channel variable ``variable`` is ``value``, or SessionGone."""
        self.expected_events.setdefault(event, []).append((variable, value, result))

    def send(self, data: str) -> esl.Reply:
        """One command, written out by our own code; header lines are separated by single line feeds."""
        return self._reply(self.request(commands.as_written(data)))

    def call_command(
        self, app_name: str, app_args: str | None = None, block: bool = False, response_timeout: float | None = None
    ) -> Any:
        """Queues an application; returns its reply, or with ``block`` the CHANNEL_EXECUTE_COMPLETE event."""
        return self._run(app_name, app_args, block, response_timeout)

    def myevents(self) -> None:
        """This call's channel events, in JSON."""
        self._reply(self.request(commands.my_events("json")))

    def linger(self, timeout: int | None = None) -> None:
        """Events still come after the hang-up, for ``timeout`` seconds or until we leave."""
        self._reply(self.request(commands.linger(timeout)))

    def answer(self) -> str:
        """The reply: ``+OK`` means queued."""
        return str(self._run("answer", None, False, None).data)

    def park(self) -> None:
        """Holds the call without media handling of ours."""
        self._run("park", None, False, None)

    def playback(self, path: str, block: bool = True, response_timeout: float | None = None) -> Any:
        """Plays a file; with ``block`` returns the event that ended it."""
        return self._run("playback", path, block, response_timeout, lock=True)

    def play_and_get_digits(
        self,
        min_digits: Any = None,
        max_digits: Any = None,
        max_attempts: Any = None,
        timeout: Any = None,
        terminators: Any = None,
        prompt_file: Any = None,
        error_file: Any = None,
        variable: Any = None,
        digits_regex: Any = None,
        digit_timeout: Any = None,
        transfer_on_fail: Any = None,
        block: bool = True,
        response_timeout: float | None = 30,
    ) -> str | None:
        """The digits pressed, or None."""
        words = (min_digits, max_digits, max_attempts, timeout, terminators, prompt_file, error_file, variable)
        argument = " ".join(map(str, (*words, digits_regex, digit_timeout, transfer_on_fail)))
        event = self._run("play_and_get_digits", argument, block, response_timeout)
        return event.headers.get(f"variable_{variable}") if block else None

    def say(
        self,
        module_name: str = "en",
        lang: str | None = None,
        say_type: str = "NUMBER",
        say_method: str = "pronounced",
        gender: str = "FEMININE",
        text: Any = None,
        block: bool = True,
        response_timeout: float | None = 30,
    ) -> Any:
        """Says numbers, dates and the like from recorded words."""
        module = f"{module_name}:{lang}" if lang else module_name
        return self._run("say", f"{module} {say_type} {say_method} {gender} {text}", block, response_timeout)

    def bridge(self, args: str, block: bool = True, response_timeout: float | None = None) -> Any:
        """Connects the call to another; with ``block`` returns the event that ended it."""
        return self._run("bridge", args, block, response_timeout)

    def hangup(self, cause: str = "NORMAL_CLEARING") -> None:
        """Ends the call now, also during a locked playback, behind which ``sendmsg hangup`` would wait."""
        if self.has_full_control:
            self._reply(self.request(commands.api("uuid_kill", self._channel(), cause)))
        else:
            self._reply(self.request(commands.hang_up(cause)))

    def uuid_break(self) -> None:
        """Silence now: ends what plays and discards all that is queued."""
        self._refuse_after_hangup()
        self._reply(self.request(commands.api("uuid_break", self._channel(), "all")))

    def raise_if_disconnected(self) -> None:
        """Raises SessionGone once the caller hung up; ``while_connected`` asks this."""
        if not self._outbound_connected:
            raise SessionGone(self.link.closed_because or f"{self.link.peer}: the call is not connected")

    def _run(self, app: str, argument: Any, block: bool, timeout: float | None, *, lock: bool = False) -> Any:
        self._refuse_after_hangup()
        text = argument if isinstance(argument, str) else "" if argument is None else str(argument)
        if not block:
            return self._reply(self.request(commands.execute(app, text, lock=lock)))
        return self.execute(app, text, lock=lock, timeout=APPLICATION_TIMEOUT if timeout is None else timeout).wait()

    def _refuse_after_hangup(self) -> None:
        if self._hung_up:
            raise SessionGone(f"{self.link.peer} hung up: {self.hangup_cause or 'cause unknown'}")

    def _reply(self, pending: Pending) -> esl.Reply:
        try:
            return pending.get()
        except CommandRefused:
            if pending.reply is None:
                raise
            return pending.reply

    def _settle(self, event: esl.Event) -> None:
        super()._settle(event)
        for expected in list(self.expected_events.get(event.name, ())):
            variable, value, result = expected
            if event.headers.get(f"variable_{variable}") == value:
                self.expected_events[event.name].remove(expected)
                result.set(event)

    def _release(self, reason: str, *, jobs: bool) -> None:
        super()._release(reason, jobs=jobs)
        expected, self.expected_events = self.expected_events, {}
        for _, _, result in (each for several in expected.values() for each in several):
            result.set_exception(SessionGone(reason))


class Listener(Door, OutboundESLServer):
    """greenswitch's server: ``listen()`` blocks until ``stop()``. See ``Door`` for admission, refusal and draining."""

    session_class = Session
