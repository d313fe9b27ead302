"""Errors that services send may quote the request, and answers that make no sense may hold an answer all the same: what
people say is in neither of them when they are logged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from esl_agent.wire.outside_json import loads

GONE = "[...]"
#: Fields of a request that are no setting, also where they hold a single word.
_WORDS = frozenset({"text", "input", "prompt", "message", "transcript", "question", "query"})
#: So many words in a row that were sent are a quotation.
_ROW = 3
#: Characters of a request that are looked through, the newest first: what is quoted is mostly the last thing said.
_MAX_SENT = 100_000
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,30}")
_WORD = re.compile(r"\w+")


def texts_of(*sent: Any) -> list[str]:
    """What a request says (its JSON, form, query): every text in it but the single words that set something (a model's
    name, a voice)."""
    return [text for part in sent if isinstance(part, Mapping) for text in _texts(part)]


def _texts(fields: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if not isinstance(value, str):
            yield from _inner(value)
        elif name in _WORDS or len(value.split()) > 1:
            yield value


def _inner(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            waiting.extend(text for name, text in each.items() if name not in ("role", "type"))
        elif isinstance(each, list | tuple):
            waiting.extend(each)


def unquoted(message: str, texts: Iterable[str]) -> str:
    """``message`` (outside text) without what it quotes of ``texts``: a whole one, or some words of one in a row."""
    known = [text.strip() for text in texts if text.strip()]
    for text in sorted(known, key=len, reverse=True):
        for written in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            if written in message:
                message = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", GONE, message)
    sent = " ".join(reversed(known))[:_MAX_SENT].casefold()
    words = _WORD.findall(sent)
    rows = {tuple(words[at : at + _ROW]) for at in range(len(words) - _ROW + 1)}
    found = list(_WORD.finditer(message))
    plain = [match.group().casefold() for match in found]
    quoted = {at + step for at in range(len(plain)) if tuple(plain[at : at + _ROW]) in rows for step in range(_ROW)}
    for at in reversed(range(len(found))):
        if at in quoted and at - 1 not in quoted:
            end = next(last for last in range(at, len(found) + 1) if last not in quoted) - 1
            message = message[: found[at].start()] + GONE + message[found[end].end() :]
    return message


def shape(value: Any) -> str:
    """What JSON ``value`` is, without what it says."""
    if isinstance(value, Mapping):
        names = [name for name in value if isinstance(name, str) and _NAME.fullmatch(name)]
        if len(names) < len(value) or not names:
            return f"an object with {len(value)} key{'' if len(value) == 1 else 's'}"
        return f"an object with {', '.join(names[:8])}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"text of {len(value)} characters" if isinstance(value, str) else type(value).__name__


def told(body: str) -> tuple[str, str]:
    """(code, message) of an error's body, in any of the shapes that services use; else ("", what it is)."""
    try:
        found = loads(body)
    except ValueError:
        return "", body
    for key in ("error", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if isinstance(found, list) and found:  # FastAPI's validation
        found = found[0]
    if not isinstance(found, dict):
        return "", _said(found)
    code = next((found[key] for key in ("code", "status", "type", "err_code", "error_code") if found.get(key)), "")
    message = next((found[key] for key in ("message", "msg", "err_msg", "reason", "title") if found.get(key)), found)
    return _said(code), _said(message)


def _said(value: Any) -> str:
    """Text and numbers as they are."""
    return str(value) if isinstance(value, str | int) else shape(value)


def beginning(text: str) -> str:
    """How ``text`` that should have been something else begins, if it is a page; else only how long it is."""
    return repr(text.strip()[:80]) if text.lstrip().startswith("<") else shape(text)
