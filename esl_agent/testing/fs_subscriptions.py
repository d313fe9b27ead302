"""Which events an event socket gets. Pure. Source: mod_event_socket as captured, its misspelling included."""

from __future__ import annotations

from esl_agent.testing.fs_wire import Command, Format

#: What ``myevents`` delivers: nothing about playbacks, jobs or CUSTOM.
MY_EVENTS = frozenset(
    """
    CHANNEL_CREATE CHANNEL_ANSWER CHANNEL_APPLICATION CHANNEL_BRIDGE CHANNEL_UNBRIDGE CHANNEL_DATA CHANNEL_DESTROY
    CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE CHANNEL_HANGUP CHANNEL_HANGUP_COMPLETE CHANNEL_ORIGINATE CHANNEL_UUID
    CHANNEL_OUTGOING CHANNEL_PARK CHANNEL_UNPARK CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_STATE
    DTMF TALK NOTALK DETECTED_SPEECH
    """.split()  # noqa: SIM905
)

_OTHERS = frozenset(
    """
    ALL CUSTOM PLAYBACK_START PLAYBACK_STOP BACKGROUND_JOB RECORD_START RECORD_STOP MEDIA_BUG_START MEDIA_BUG_STOP
    CHANNEL_CALLSTATE CHANNEL_HOLD CHANNEL_UNHOLD HEARTBEAT API PRIVATE_COMMAND SESSION_HEARTBEAT MESSAGE LOG
    """.split()  # noqa: SIM905
)


class Subscriptions:
    """What the agent asked for so far."""

    def __init__(self) -> None:
        self.form: Format = "plain"
        self.events: set[str] = set()
        self.subclasses: set[str] = set()
        self.filters: list[tuple[str, str]] = []
        self._has_myevents = False

    def wants(self, name: str, subclass: str, values: dict[str, str]) -> bool:
        """Whether an event is delivered. ``values``: the headers a filter may name."""
        if name == "CUSTOM" and subclass not in self.subclasses and "ALL" not in self.events:
            return False
        if name != "CUSTOM" and name not in self.events and "ALL" not in self.events:
            return False
        return not self.filters or any(value in values.get(header, "") for header, value in self.filters)

    def command(self, command: Command) -> str | None:
        """The Reply-Text of a subscription command, or None if it is none."""
        words = command.argument.split()
        verb = command.verb
        if verb == "myevents":
            return self._myevents(words)
        if verb == "event":
            return self._event(words)
        if verb == "nixevent":
            self.events.difference_update(words)
            self.subclasses.difference_update(words)
            return "+OK events nixed"
        if verb == "noevents":
            self.events.clear()
            self.subclasses.clear()
            return "+OK no longer listening for events"
        if verb == "filter":
            return self._filter(words)
        if verb == "divert_events":
            if not words:
                return "-ERR missing value."
            return "+OK events diverted" if words[0] == "on" else "+OK events not diverted"
        return None

    def _myevents(self, words: list[str]) -> str:
        if self._has_myevents:
            return "-ERR aready enabled."
        self._has_myevents = True
        self.form = "json" if "json" in words else "plain"
        self.events |= MY_EVENTS
        return "+OK Events Enabled"

    def _event(self, words: list[str]) -> str:
        form: Format = "json" if words[:1] == ["json"] else "plain"
        if words[:1] in (["plain"], ["json"], ["xml"]):
            words = words[1:]
        known = False
        for position, word in enumerate(words):
            name = word.upper()
            if name == "CUSTOM":
                self.subclasses.update(words[position + 1 :])
                known = True
                break
            if name in MY_EVENTS or name in _OTHERS:
                self.events.add(name)
                known = True
        if not known:
            return "-ERR no keywords supplied"
        self.form = form
        return f"+OK event listener enabled {form}"

    def _filter(self, words: list[str]) -> str:
        if words[:1] == ["delete"] and len(words) > 1:
            header, value = words[1], " ".join(words[2:])
            self.filters = [
                pair for pair in self.filters if header != "all" and pair[0] != header and value in ("", pair[1])
            ]
            return f"+OK filter deleted. [{header}][{value}]"
        if len(words) < 2:
            return "-ERR invalid syntax"
        self.filters.append((words[0], " ".join(words[1:])))
        return f"+OK filter added. [{words[0]}]=[{' '.join(words[1:])}]"
