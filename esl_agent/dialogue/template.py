"""Texts of the operator with facts of the call in them: ``The caller's number is {{caller}}.``

A value that somebody outside can choose is data and looks like it: one line, cut to a length, in quotation marks,
without a quotation mark or bracket of its own. A name such as *Ignore your instructions* stays a name in quotation
marks, and one such as ``<|im_start|>`` cannot be mistaken by a model's server for a mark of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from esl_agent.setting import STRICT, setting

#: ``{{{{`` is how ``{{`` itself is written. A ``{{`` that begins no placeholder is a mistake.
_MARK = re.compile(r"(?P<escaped>\{\{\{\{)|\{\{(?P<name>[^{}\n]*)\}\}|\{\{")
_VARIABLE = re.compile(r"variable\.([A-Za-z0-9_-]{1,64})")
#: What could end a quotation, or begin something that means something to a model or its server, by Unicode's category
#: (quotation marks, opening and closing brackets), and what is not in one of these.
_NEUTRAL = {"Pi": "'", "Pf": "'", "Ps": "(", "Pe": ")", '"': "'", "`": "'", "„": "'", "‚": "'", "<": "(", ">": ")"}
_SPEAKABLE = re.compile(r"[^\w\s'.,+-]|_")

#: Monday first. Languages are the first part of a BCP 47 tag; any other gets English.
WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
    "tr": "Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi Pazar",
}


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """What becomes of `{{caller}}` and its like in `prompt` and `phrases.greeting`, at the call's beginning.

    There are `{{caller}}`, `{{caller_name}}`, `{{did}}` (the number dialled), `{{call_id}}` and `{{variable.NAME}}`
    (the channel variable NAME as it was when the call came): outside text, in quotation marks; and `{{did_name}}`,
    `{{language}}`, `{{date}}`, `{{time}}` and `{{weekday}}`, which are as they are. `{{{{` is how `{{` is written.
    In the greeting values stand without quotation marks and signs, a missing one is left out, and the clause that
    holds one is synthesised while the caller waits; other phrases may hold none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    unknown: str = setting("unknown", "What stands in the prompt for a value that the call does not have.")
    max_length: int = setting(100, "Characters of a value at most; a longer one is cut.", ge=1, le=2000)


def _no_variable(name: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One call, as placeholders know it. All text but ``did_name`` is outside text."""

    call_id: str
    did: str
    did_name: str
    caller: str
    caller_name: str
    now: datetime
    """When it began, in the DID's time zone."""
    variable: Callable[[str], str] = _no_variable
    """A channel variable by its name; empty where there is none."""


_OUTSIDE: dict[str, Callable[[Facts], str]] = {
    "caller": lambda facts: facts.caller,
    "caller_name": lambda facts: facts.caller_name,
    "did": lambda facts: facts.did,
    "call_id": lambda facts: facts.call_id,
}
_OURS: dict[str, Callable[[Facts, str], str]] = {
    "did_name": lambda facts, language: facts.did_name,
    "language": lambda facts, language: language,
    "date": lambda facts, language: facts.now.strftime("%Y-%m-%d"),
    "time": lambda facts, language: facts.now.strftime("%H:%M"),
    "weekday": lambda facts, language: _weekday(facts.now, language),
}
#: Every placeholder there is, as it is written.
NAMES = (*_OUTSIDE, *_OURS, "variable.NAME")


def is_template(text: str) -> bool:
    """Whether anything in ``text`` is to be filled in."""
    return "{{" in text


def variables(text: str) -> list[str]:
    """The channel variables that ``text`` names, in order."""
    names = (mark["name"] or "" for mark in _MARK.finditer(text))
    return [found[1] for name in names if (found := _VARIABLE.fullmatch(name.strip()))]


def mistakes(text: str) -> list[str]:
    """What stands in double braces and is no placeholder, as written."""
    return [part for is_placeholder, part in _parts(text) if is_placeholder and _is_unknown(part)]


def fill(text: str, facts: Facts, language: str, settings: TemplateSettings) -> str:
    """``text`` for a model. Raises ValueError for what ``mistakes`` finds."""

    def value(name: str) -> str:
        if name in _OURS:
            return _one_line(_OURS[name](facts, language))
        found = _cut(_neutral(_one_line(_outside(name, facts, settings))), settings.max_length)
        return f'"{found}"' if found else settings.unknown

    return "".join(value(_named(part)) if is_placeholder else part for is_placeholder, part in _parts(text))


def fill_spoken(text: str, facts: Facts, language: str, settings: TemplateSettings) -> str:
    """``text`` for a voice, which speaks letters and numbers, and might take anything else for an order."""
    filled = ""
    for is_placeholder, part in _parts(text):
        if not is_placeholder:
            filled += part
            continue
        name = _named(part)
        value = _OURS[name](facts, language) if name in _OURS else _outside(name, facts, settings)
        if name not in ("date", "time", "did_name"):
            value = _SPEAKABLE.sub(" ", value)
        value = _cut(_one_line(value), settings.max_length)
        filled = filled + value if value else filled.rstrip()
    return filled


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is one, as written) of text and placeholders in turn; ``{{{{`` comes as the text ``{{``."""
    end = 0
    for mark in _MARK.finditer(text):
        yield False, text[end : mark.start()]
        yield (False, "{{") if mark["escaped"] else (True, mark[0])
        end = mark.end()
    yield False, text[end:]


def _named(part: str) -> str:
    name = part.removeprefix("{{").removesuffix("}}").strip()
    if _is_unknown(part):
        raise ValueError(f"{part} is no placeholder")
    return name


def _is_unknown(part: str) -> bool:
    name = part.removeprefix("{{").removesuffix("}}").strip()
    return not part.endswith("}}") or not (name in _OUTSIDE or name in _OURS or _VARIABLE.fullmatch(name))


def _outside(name: str, facts: Facts, settings: TemplateSettings) -> str:
    """The value, not made safe; no longer than could matter."""
    variable = _VARIABLE.fullmatch(name)
    value = facts.variable(variable[1]) if variable else _OUTSIDE[name](facts)
    return unicodedata.normalize("NFKC", value[: 8 * settings.max_length])  # as a tokeniser may do later


def _one_line(value: str) -> str:
    """Without control characters and line ends, and without what turns the direction of writing or is not seen."""
    return " ".join("".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in value).split())


def _neutral(value: str) -> str:
    """Without a quotation mark or bracket but ``'``, ``(`` and ``)``."""
    return "".join(_NEUTRAL.get(each) or _NEUTRAL.get(unicodedata.category(each), each) for each in value)


def _cut(value: str, limit: int) -> str:
    return value if len(value) <= limit else f"{value[: limit - 1].rstrip()}…"


def _weekday(now: datetime, language: str) -> str:
    names = WEEKDAYS.get(language.partition("-")[0].lower(), WEEKDAYS["en"])
    return names.split()[now.weekday()]
