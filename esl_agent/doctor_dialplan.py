"""FreeSWITCH's XML dialplan, read: what happens to a number? Pure.

Follows mod_dialplan_xml.c ``parse_exten`` as far as the number decides: extensions in order, conditions with ``break``,
``regex`` and nesting, anti-actions, ``continue`` and ``transfer``. What depends on anything else (the time, a variable,
the caller) is taken as false, but for a condition around a ``socket`` line, which is taken as true; ``Route`` tells
both.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from esl_agent.errors import WireError

#: Transfers that are followed from the number dialled.
MAX_TRANSFERS = 8
#: The port of a ``socket`` line that names none (mod_event_socket.c ``socket_function``).
DEFAULT_PORT = 8084

_TIMES = ("year", "yday", "mon", "mday", "week", "mweek", "wday", "hour", "minute", "minute-of-day", "time-of-day")
_NUMBER = ("destination_number", "${destination_number}")
_TRUE = ("true", "yes", "on", "enabled", "active", "allow", "1")


@dataclass(frozen=True, slots=True)
class Step:
    """One application that the dialplan runs, and where it stands."""

    application: str
    data: str
    context: str
    extension: str


@dataclass(frozen=True, slots=True)
class SocketLine:
    """What the data of a ``socket`` says: where to connect, tried in order, and its words (``async``, ``full``)."""

    hosts: tuple[tuple[str, int], ...]
    words: frozenset[str]


@dataclass(slots=True)
class Route:
    """What a number meets."""

    steps: list[Step] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    """``field of extension``: conditions around a socket line that are not about the number, taken as true."""
    skipped: list[str] = field(default_factory=list)
    """Extensions that take the call first if a condition holds that is not about the number; taken as false."""

    def variable(self, name: str, before: int) -> str | None:
        """What ``set`` or ``export`` gave the channel variable ``name`` last, in the first ``before`` steps."""
        value = None
        for step in self.steps[:before]:
            key, equals, text = step.data.partition("=")
            if step.application in ("set", "export") and equals and key.strip() in (name, f"nolocal:{name}"):
                value = text
        return value


class Dialplan:
    """``xml`` is what ``xml_locate dialplan`` prints. Raises WireError if it is not XML."""

    def __init__(self, xml: str) -> None:
        try:
            root = ElementTree.fromstring(xml.encode())
        except ElementTree.ParseError as error:
            raise WireError(f"expected the dialplan as XML, got {xml[:80]!r} ({error})") from None
        self._contexts: dict[str, ElementTree.Element] = {}
        for context in root.iter("context"):
            self._contexts.setdefault(context.get("name", ""), context)

    @property
    def contexts(self) -> tuple[str, ...]:
        return tuple(self._contexts)

    def sockets(self) -> Iterator[Step]:
        """Every ``socket`` line there is, whoever reaches it."""
        for name, context in self._contexts.items():
            for extension in context.iter("extension"):
                for action in extension.iter("action"):
                    if action.get("application") == "socket":
                        yield Step("socket", _data(action), name, extension.get("name", "(unnamed)"))

    def route(self, number: str, context: str) -> Route:
        """What happens to ``number`` in ``context``, and wherever it is transferred to."""
        route = Route()
        for _ in range(MAX_TRANSFERS):
            steps = self._hunt(number, context, route)
            route.steps.extend(steps)
            if not steps or steps[-1].application != "transfer":
                break
            words = steps[-1].data.split()
            if not words or words[0].startswith("-") or "$" in steps[-1].data:
                break
            number, context = words[0], words[2] if len(words) > 2 else context
        return route

    def _hunt(self, number: str, context: str, route: Route) -> list[Step]:
        """The steps up to the first transfer, or all of them."""
        found: list[Step] = []
        place = self._contexts.get(context)
        for extension in () if place is None else place.iterfind("extension"):
            has_socket = any(action.get("application") == "socket" for action in extension.iter("action"))
            walk = _Walk(number, context, extension, unknown=has_socket)
            found.extend(walk.steps)
            if has_socket:
                route.assumed.extend(walk.unknowns)
            elif walk.unknowns and not walk.takes and _Walk(number, context, extension, unknown=True).takes:
                route.skipped.append(walk.name)
            if walk.takes:
                break
        transfer = next((at for at, step in enumerate(found) if step.application == "transfer"), len(found))
        return found[: transfer + 1]


class _Walk:
    """One extension met by one number; conditions about anything else count as ``unknown`` says."""

    def __init__(self, number: str, context: str, extension: ElementTree.Element, *, unknown: bool) -> None:
        self.name = extension.get("name", "(unnamed)")
        self.steps: list[Step] = []
        self.unknowns: list[str] = []
        self._number = number
        self._context = context
        self._unknown = unknown
        self.takes = self._conditions(extension) and extension.get("continue", "").lower() not in _TRUE

    def _conditions(self, parent: ElementTree.Element) -> bool:
        """Whether the extension is entered, as ``parse_exten`` sees it: by what the last condition said."""
        proceed = False
        for condition in parent.iterfind("condition"):
            holds, groups = self._condition(condition)
            actions = list(condition.iterfind("action" if holds else "anti-action"))
            proceed = holds or bool(actions)
            self.steps.extend(
                Step(each.get("application", ""), _filled(_data(each), groups), self._context, self.name)
                for each in actions
            )
            stop = condition.get("break", "on-false").lower()
            if stop == "always" or (holds if stop == "on-true" else not holds and stop != "never"):
                break
            if proceed and condition.find("condition") is not None:
                proceed = self._conditions(condition) or condition.get("require-nested", "true").lower() not in _TRUE
                if not proceed and stop != "never":
                    break
        return proceed

    def _condition(self, condition: ElementTree.Element) -> tuple[bool, tuple[str, ...]]:
        """(whether it holds, what its brackets caught)."""
        rule = condition.get("regex")
        results = [self._test(test) for test in (condition.iterfind("regex") if rule else [condition])]
        combine: Callable[[list[bool]], bool] = all
        if rule:
            combine = {"all": all, "xor": lambda held: sum(held) == 1}.get(rule.lower(), any)
        groups = next((groups for _, groups in results if groups), ())
        return combine([holds for holds, _ in results]), groups

    def _test(self, test: ElementTree.Element) -> tuple[bool, tuple[str, ...]]:
        if times := [name for name in (*_TIMES, "date-time") if name in test.attrib]:
            return self._guess(times[0])
        name = test.get("field")
        if name is None:
            return True, ()
        inner = test.find("expression")
        expression = test.get("expression", "") if inner is None else inner.text or ""
        # An expression with a leading underscore is an Asterisk pattern.
        if name not in _NUMBER or "${" in expression or expression.startswith("_"):
            return self._guess(name)
        flags = 0
        if expression.startswith("/") and "/" in expression[1:]:
            expression, _, options = expression[1:].rpartition("/")
            flags = re.IGNORECASE if "i" in options else 0
        try:
            found = re.search(expression, self._number, flags)
        except re.error:  # PCRE knows more than Python
            return self._guess(f"{name} {expression}")
        if found is None or "(" not in expression:
            return found is not None, ()
        return True, (found[0], *(group or "" for group in found.groups()))

    def _guess(self, name: str) -> tuple[bool, tuple[str, ...]]:
        self.unknowns.append(f"{name} of {self.name}")
        return self._unknown, ()


def socket_line(data: str) -> SocketLine | None:
    """The data of a ``socket`` as mod_event_socket.c ``socket_function`` reads it; None if it names no host.

    A host without a port has the one of the host before it. A ``/path`` is left out.
    """
    words = data.split()
    if not words:
        return None
    hosts: list[tuple[str, int]] = []
    port = DEFAULT_PORT
    for text in words[0].split("|"):
        host, colon, digits = text.partition("/")[0].rpartition(":")
        if colon and digits.isascii() and digits.isdigit():
            port = int(digits)
        else:
            host = text.partition("/")[0]
        hosts.append((host, port))
    return SocketLine(tuple(hosts), frozenset(words[1:]))


def _data(action: ElementTree.Element) -> str:
    return (action.text or "").strip() or action.get("data", "")


def _filled(data: str, groups: tuple[str, ...]) -> str:
    """``$1`` replaced by what the condition's brackets caught."""
    if not groups:
        return data
    return re.sub(r"\$(\d)", lambda found: groups[int(found[1])] if int(found[1]) < len(groups) else "", data)
