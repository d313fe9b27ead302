"""Asterisk's dialplan, read: what happens to a number? Pure.

Follows pbx.c (22.10.1) as far as the number decides: the extension that fits best, priority for priority, included
contexts after the context itself, Goto and Gosub. Of what depends on anything else (GotoIf, ExecIf) every branch is
tried; ``Way`` tells. Extensions that are bound to one caller (``100/4930123``), ``switch`` and times are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

#: Steps and branches that are followed for one number, and contexts that are looked into for each (pbx.c has 128).
MAX_STEPS = 400
MAX_INCLUDES = 128
#: ``${...}`` within each other, and characters of one step's data.
MAX_EXPANSIONS = 50
MAX_DATA = 2000

_CLASSES = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
#: Beyond every character class, as pbx.c ``ext_cmp_pos`` has them: what fits more comes later.
_ANY, _REST, _END = 0x18000, 0x28000, 0x30000
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_SLICE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::(-?[0-9]+)(?::(-?[0-9]+))?)?")
# Stand for the `${` and `}` of what nobody could say.
_OPEN, _CLOSE = "\ue000", "\ue001"

Lookup = Callable[[str], "str | None"]
"""The value of a global variable; None if nobody knows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the dialplan."""

    context: str
    extension: str
    priority: int
    application: str
    data: str
    label: str = ""

    @property
    def place(self) -> str:
        return f"{self.extension}@{self.context}:{self.priority}"


@dataclass(slots=True)
class Way:
    """How a number gets to a goal: every step up to it, its data worked out as far as it could be."""

    steps: list[Step] = field(default_factory=list)
    followed: Step | None = None
    """The step after the goal; None: the call ends there."""
    branches: list[str] = field(default_factory=list)
    """Places where something else than the number decides."""

    @property
    def goal(self) -> Step:
        return self.steps[-1]

    def has(self, application: str) -> bool:
        """Whether ``application`` runs before the goal."""
        return any(step.application.lower() == application.lower() for step in self.steps[:-1])


class AsteriskPlan:
    """``rows``: steps in any order; ``includes``: (context, the one it includes), in the dialplan's order."""

    def __init__(self, rows: Iterable[Step], includes: Iterable[tuple[str, str]] = ()) -> None:
        self._contexts: dict[str, dict[str, dict[int, Step]]] = {}
        self._includes: dict[str, list[str]] = {}
        for step in rows:
            self._contexts.setdefault(step.context, {}).setdefault(step.extension, {})[step.priority] = step
        for context, other in includes:
            self._includes.setdefault(context, []).append(other)
            self._contexts.setdefault(context, {})

    @property
    def contexts(self) -> tuple[str, ...]:
        return tuple(self._contexts)

    def steps(self) -> Iterator[Step]:
        """Every line there is."""
        for context in self._contexts.values():
            for extension in context.values():
                yield from extension.values()

    def find(self, context: str, number: str, priority: int = 1) -> Step | None:
        """What ``number`` meets there."""
        return self._find(context, number, set(), lambda lines: lines.get(priority))

    def labelled(self, context: str, number: str, label: str) -> Step | None:
        return self._find(
            context, number, set(), lambda lines: next((s for s in lines.values() if s.label == label), None)
        )

    def _find(
        self, context: str, number: str, seen: set[str], pick: Callable[[dict[int, Step]], Step | None]
    ) -> Step | None:
        """``seen``: contexts that were looked into already; they may include each other."""
        seen.add(context)
        here = self._contexts.get(context, {})
        for extension in sorted((each for each in here if fits(each, number)), key=_rank):
            if (step := pick(here[extension])) is not None:
                return step
        for other in self._includes.get(context, ()):
            if (
                other not in seen
                and len(seen) < MAX_INCLUDES
                and (step := self._find(other, number, seen, pick)) is not None
            ):
                return step
        return None

    def way(self, number: str, context: str, is_goal: Callable[[Step], bool], lookup: Lookup) -> tuple[Way | None, str]:
        """The first way by which ``number`` in ``context`` reaches a goal; else None, and where it ends instead."""
        walk = _Walk(self, is_goal, lookup)
        found = walk.follow(context, number, 1, [], {}, [])
        return found, walk.ended


class _Walk:
    def __init__(self, plan: AsteriskPlan, is_goal: Callable[[Step], bool], lookup: Lookup) -> None:
        self.ended = ""
        self._plan, self._is_goal, self._lookup = plan, is_goal, lookup
        self._seen: set[tuple[str, str, int]] = set()

    def follow(
        self, context: str, number: str, priority: int, before: list[Step], known: dict[str, str], branches: list[str]
    ) -> Way | None:
        """``known``: channel variables that the steps before have set."""
        steps, known, branches = list(before), dict(known), list(branches)
        while len(self._seen) < MAX_STEPS:
            raw = self._plan.find(context, number, priority)
            if raw is None:
                if priority == 1 and not self.ended:
                    self.ended = f"{context} has no extension for {number}"
                return None
            if (context, number, priority) in self._seen:
                return None
            self._seen.add((context, number, priority))
            data = expand(raw.data, {"EXTEN": number, "CONTEXT": context, **known}, self._lookup)
            for application, arguments, is_sure in _applications(raw.application, data):
                step = Step(raw.context, raw.extension, raw.priority, application, arguments)
                if not is_sure:
                    branches.append(raw.place)
                if self._is_goal(step):
                    return Way([*steps, step], self._plan.find(context, number, priority + 1), branches)
                steps.append(step)
                known.update(_set(step))
                targets = list(_targets(step, context, number))
                if len(targets) > 1 or application.lower() in ("gotoif", "gosubif", "gotoiftime"):
                    branches = [*branches, raw.place]
                for place, extension, where in targets:
                    at = self._priority(place, extension, where)
                    if at and (found := self.follow(place, extension, at, steps, known, branches)) is not None:
                        return found
                if is_sure and application.lower() in ("goto", "hangup", "return", "stasis", "busy", "congestion"):
                    self.ended = self.ended or f"{raw.place} {application}({arguments[:60]})"
                    return None
            self.ended = f"{raw.place} {raw.application}({data[:60]})"
            priority += 1
        return None

    def _priority(self, context: str, number: str, where: str) -> int:
        """0: there is none."""
        if where.isascii() and where.isdigit():
            return int(where)
        step = self._plan.labelled(context, number, where)
        return step.priority if step is not None else 0


def fits(pattern: str, number: str) -> bool:
    """Whether an extension of the dialplan fits ``number`` (pbx.c ``_extension_match_core``)."""
    if not pattern.startswith("_"):
        return pattern == number
    rest = number
    for kind in _pieces(pattern[1:]):
        if kind == "!":
            return True
        if not rest:
            return False
        if kind == ".":
            return True
        if rest[0] not in kind:
            return False
        rest = rest[1:]
    return not rest


def _pieces(pattern: str) -> Iterator[str]:
    """What each place may hold; ``.`` and ``!`` for themselves."""
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if sign == "[" and (end := pattern.find("]", at)) > 0:
            inner = pattern[at:end]
            yield re.sub(r"(.)-(.)", lambda ends: _range(ends[1], ends[2]), inner)
            at = end + 1
        elif sign.upper() in _CLASSES:
            yield _CLASSES[sign.upper()]
        elif sign not in "- ":
            yield sign


def _range(first: str, last: str) -> str:
    return "".join(chr(each) for each in range(ord(first), min(ord(last), 0x7F) + 1))


def _rank(extension: str) -> tuple[bool, list[int]]:
    """Exact before pattern; of patterns the one whose places may hold less."""
    if not extension.startswith("_"):
        return False, []
    beyond = {".": _ANY, "!": _REST}
    return True, [
        *(beyond.get(kind) or (len(kind) << 8) + ord(min(kind, default=" ")) for kind in _pieces(extension[1:])),
        _END,
    ]


def arguments(data: str, separator: str = ",") -> list[str]:
    """``data`` at its commas, but for those in brackets and quotes."""
    found, depth, quoted = [""], 0, False
    for sign in data[:MAX_DATA]:
        quoted ^= sign == '"'
        depth += (sign in "([{") - (sign in ")]}")
        if sign == separator and depth <= 0 and not quoted:
            found.append("")
        else:
            found[-1] += sign
    return [each.strip() for each in found]


def expand(text: str, known: dict[str, str], lookup: Lookup) -> str:
    """``text`` with the values of its variables, as far as they are known; the rest as it stands."""
    text = text[:MAX_DATA]
    for _ in range(MAX_EXPANSIONS):
        if (found := _INNERMOST.search(text)) is None:
            break
        value = _value(found[1], known, lookup)
        told = f"{_OPEN}{found[1]}{_CLOSE}" if value is None else value
        text = (text[: found.start()] + told + text[found.end() :])[:MAX_DATA]
    return text.replace(_OPEN, "${").replace(_CLOSE, "}")


def _value(name: str, known: dict[str, str], lookup: Lookup) -> str | None:
    if found := re.fullmatch(r"FILTER\(([^,]*),(.*)\)", name):
        allowed = re.sub(r"(.)-(.)", lambda ends: _range(ends[1], ends[2]), found[1])
        return None if _OPEN in found[2] else "".join(each for each in found[2] if each in allowed)
    sliced = _SLICE.fullmatch(name)
    if sliced is None:
        return None
    value = known.get(sliced[1])
    if value is None:
        value = lookup(sliced[1])
    if value is None or sliced[2] is None:
        return value
    begin, length = int(sliced[2]), sliced[3]
    value = value[begin:]
    return value if length is None else value[: int(length)]


def _set(step: Step) -> dict[str, str]:
    """What a Set gives the channel."""
    if step.application.lower() not in ("set", "mset"):
        return {}
    pairs = arguments(step.data) if step.application.lower() == "mset" else [step.data]
    named = (pair.partition("=") for pair in pairs)
    return {name.strip().lstrip("_"): value for name, equals, value in named if equals and "(" not in name}


def _applications(name: str, data: str) -> Iterator[tuple[str, str, bool]]:
    """What a line runs: (application, data, whether it is sure to). ExecIf runs one of two."""
    if name.lower() != "execif":
        yield name, data, True
        return
    _, _, branches = data.partition("?")
    for branch in arguments(branches, ":"):
        if found := re.fullmatch(r"([A-Za-z0-9_]+)\((.*)\)", branch, re.DOTALL):
            yield found[1], found[2], False


def _targets(step: Step, context: str, number: str) -> Iterator[tuple[str, str, str]]:
    """Where a step may go on: (context, extension, priority or label)."""
    name = step.application.lower()
    if name in ("goto", "gosub"):
        texts = [step.data]
    elif name in ("gotoif", "gosubif", "gotoiftime"):
        texts = arguments(step.data.partition("?")[2], ":")
    else:
        return
    for text in texts:
        if name.startswith("gosub"):
            text = re.sub(r"\(.*\)$", "", text, flags=re.DOTALL)
        words = arguments(text)
        if words[-1]:
            yield (words[-3] if len(words) > 2 else context), (words[-2] if len(words) > 1 else number), words[-1]
