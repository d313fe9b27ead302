"""LLM ``rules``: no model at all. Rules say what is answered to what; for the demo, for menus, for when a model fails.

It is stateless: which rule answered what, and how often, is found by going through the history again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from esl_agent.dialogue.actions import Message, ToolCall, ToolSpec
from esl_agent.dialogue.tools import FAILED
from esl_agent.providers.base import EngineContext, HangUpPart, Identity, ReplyPart, TextPart, ToolCallPart
from esl_agent.providers.exchanges import Exchange, exchanges, normalised, sentences, unheard
from esl_agent.setting import STRICT, setting

#: Characters of what was heard that are compared and repeated; nobody says more to a rule.
MAX_HEARD = 1000
#: How well ``*`` patterns count: below the same words without a star, and a lone ``*`` below everything else.
_STAR_SCORE, _LONE_STAR_SCORE = 0.95, 0.01
_OTHERWISE = -1


@dataclass(frozen=True, slots=True)
class AfterTool:
    """What is said to what a tool answered. `{result}` is its answer, `{result.name}` a field of one in JSON."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    ok: str = setting("", "When it did what it was told. Empty: nothing.")
    failed: str = setting("I am sorry, that did not work.", "When it could not.")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is answered to what."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    when: tuple[str, ...] = setting(
        doc="What the caller says, in several ways. `*` stands for any words: `my name is *`."
    )
    say: str | tuple[str, ...] = setting(
        doc="The answer, or several to be used in turn. `{heard}` is what was heard, `{1}` the words of the first `*`."
    )
    hang_up: bool = setting(False, "Whether the call ends after the answer was heard.")
    name: str = setting("", "What `after` of other rules calls this one.")
    tool: str = setting("", "A tool to call after the words, such as transfer. Its DID must have it.")
    arguments: dict[str, Any] = setting(
        dict, "What the tool is told: `{to: reception}`. Text may hold `{heard}` and `{1}`, as the answer may."
    )
    after_tool: AfterTool = setting(AfterTool, "What is said when the tool has done it, or could not.")
    after: str = setting("", "The name of a rule: only when the answer before came from it. Such a rule goes first.")


@dataclass(frozen=True, slots=True)
class RulesOptions:
    """Answers by rule instead of by a language model."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    rules: tuple[Rule, ...] = setting((), "The rules. The best match answers; of equals the first.")
    otherwise: str | tuple[str, ...] = setting(
        "I am sorry, I can not help with that.", "The answer when no rule matches, or several to be used in turn."
    )
    threshold: float = setting(0.5, "How well a phrase must match, 1: every word, and no other.", gt=0.0, le=1.0)

    def __post_init__(self) -> None:
        known = {rule.name for rule in self.rules if rule.name}
        for rule in self.rules:
            if rule.after and rule.after not in known:
                raise ValueError(f"after: expected the name of a rule ({', '.join(sorted(known))}), got {rule.after!r}")
            if (rule.arguments or rule.after_tool != AfterTool()) and not rule.tool:
                raise ValueError("arguments and after_tool belong to a rule with a tool")

    def expected_phrases(self) -> tuple[str, ...]:
        """What callers are expected to say, each once and in order; a recogniser may lean towards it."""
        phrases = (re.sub(r"\s*\*\s*", " ", phrase).strip() for rule in self.rules for phrase in rule.when)
        return tuple(dict.fromkeys(phrase for phrase in phrases if phrase))

    def called_tools(self) -> tuple[str, ...]:
        """The tools that rules call, each once."""
        return tuple(dict.fromkeys(rule.tool for rule in self.rules if rule.tool))


class Rules:
    """Answers from its options alone. ``context`` is not needed: rules are written in the language of their DID."""

    identity = Identity("rules")

    def __init__(self, options: RulesOptions, context: EngineContext) -> None:
        self._options = options

    def reply(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Iterator[ReplyPart]:
        """The answer to the last message of the caller, a sentence at a time, or to what a tool answered."""
        used: Counter[int] = Counter()
        before = _OTHERWISE
        *earlier, last = exchanges(messages) or [Exchange("")]
        for each in earlier:
            if each.is_answered:
                before, _ = self._chosen(each.words[:MAX_HEARD], before)
                used[before] += 1
        heard = last.words[:MAX_HEARD]
        number, captured = self._chosen(heard, before)
        if last.result is not None and (number == _OTHERWISE or last.tool == self._options.rules[number].tool):
            yield from _sentences(self._after_tool(number, last.result))
            return
        said = self._options.otherwise if number == _OTHERWISE else self._options.rules[number].say
        variants = (said,) if isinstance(said, str) else said
        if variants:
            text = _filled(variants[used[number] % len(variants)], heard, captured)
            rest = unheard([text], last.answer) if last.is_rest else []
            yield from _sentences("".join(rest) or text)
        if number == _OTHERWISE:
            return
        rule = self._options.rules[number]
        if rule.tool and any(tool.name == rule.tool for tool in tools):
            arguments = {name: _filled_argument(value, heard, captured) for name, value in rule.arguments.items()}
            yield ToolCallPart(ToolCall(f"rule-{number}-{len(messages)}", rule.tool, arguments))
        elif rule.tool:
            yield from _sentences(rule.after_tool.failed)
        elif rule.hang_up:
            yield HangUpPart()

    def _after_tool(self, number: int, answered: str) -> str:
        """What is said to what the tool of rule ``number`` answered."""
        if number == _OTHERWISE:
            return ""
        after = self._options.rules[number].after_tool
        return after.failed if answered.startswith(FAILED) else _with_result(after.ok, answered)

    def _chosen(self, heard: str, before: int) -> tuple[int, tuple[str, ...]]:
        """(number of the rule that answers, what its stars stand for)."""
        words = normalised(heard)
        name_before = self._options.rules[before].name if before != _OTHERWISE else ""
        best, best_score = _OTHERWISE, 0.0
        best_captured: tuple[str, ...] = ()
        for number, rule in enumerate(self._options.rules):
            if rule.after and rule.after != name_before:
                continue
            for phrase in rule.when:
                score, captured = match(phrase, words, self._options.threshold)
                if rule.after and score:
                    score += 1.0
                if score > best_score:
                    best, best_score, best_captured = number, score, captured
        return best, best_captured


def match(phrase: str, words: list[str], threshold: float) -> tuple[float, tuple[str, ...]]:
    """(how well ``words`` fit ``phrase``, 0 below ``threshold``; what its stars stand for)."""
    if "*" in phrase:
        return _match_pattern(phrase, words)
    wanted = normalised(phrase)
    if not wanted or not words:
        return 0.0, ()
    common = _common_in_order(wanted, words)
    # Missing a word of the phrase weighs more than saying others as well.
    score = common / len(wanted) * (common / len(words)) ** 0.5
    return (score if score >= threshold else 0.0), ()


def _match_pattern(phrase: str, words: list[str]) -> tuple[float, tuple[str, ...]]:
    parts = [normalised(part) for part in phrase.split("*")]
    pattern = r"\s*(.*?)\s*".join(r"\b" + re.escape(" ".join(part)) + r"\b" if part else "" for part in parts)
    found = re.fullmatch(pattern, " ".join(words))
    if found is None:
        return 0.0, ()
    return (_STAR_SCORE if any(parts) else _LONE_STAR_SCORE), tuple(found.groups())


def _common_in_order(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        previous = 0
        for at, other in enumerate(second, 1):
            previous, row[at] = row[at], previous + 1 if word == other else max(row[at], row[at - 1])
    return row[-1]


def _sentences(text: str) -> Iterator[TextPart]:
    for sentence in sentences(text):
        yield TextPart(sentence)


def _filled_argument(value: Any, heard: str, captured: tuple[str, ...]) -> Any:
    return _filled(value, heard, captured) if isinstance(value, str) else value


def _with_result(template: str, answered: str) -> str:
    """``template`` with ``{result}`` and ``{result.name}`` replaced once."""
    try:
        found = json.loads(answered)
    except (ValueError, RecursionError):
        found = None
    fields = found if isinstance(found, dict) else {}

    def value(hit: re.Match[str]) -> str:
        return str(fields.get(hit[1], "")) if hit[1] else answered

    return re.sub(r"\{result(?:\.([A-Za-z0-9_]+))?\}", value, template)


def _filled(template: str, heard: str, captured: tuple[str, ...]) -> str:
    """``template`` with its placeholders replaced once; braces in what was heard mean nothing."""

    def value(found: re.Match[str]) -> str:
        key = found[1]
        if key == "heard":
            return heard
        return captured[int(key) - 1] if 0 < int(key) <= len(captured) else ""

    return re.sub(r"\{(heard|[0-9])\}", value, template)
