"""The event socket: commands for FreeSWITCH -> bytes, each command one ``bytes`` to be written at once.

A half-written command stalls every event of its connection (capture 06), hence one object, one write.

Every argument passes ``_text``: CR, LF, NUL and lone surrogates are always refused; expansions are refused unless the
text is ``Trusted``. FreeSWITCH expands the argument of every application, *including API calls*
(``${system(...)}`` runs), expands what a variable holds again when it is referred to, and sees ``${`` through
backslashes and quotes between the two characters (switch_channel.c ``switch_channel_expand_variables_check``,
switch_utils.h ``switch_string_var_check_const``). ``%[a=b]`` and ``%;[a=b]`` before an argument set variables
(switch_core_session.c ``switch_core_session_exec``). ``$${`` is covered by ``${``; there is no other expansion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from esl_agent.errors import UnsafeText

Format = Literal["json", "plain"]


class Trusted(str):
    """Text from our own configuration or code: ``${...}`` in it is meant. A line break is refused all the same."""

    __slots__ = ()


_LINE_BREAK = re.compile(r"[\r\n\0]")
_SCOPE = re.compile(r"%.?\[", re.DOTALL)
_BETWEEN = str.maketrans("", "", "\\'")
_WORD = re.compile(r"[^\s\x00-\x20\x7f]+")

_BRACE = re.compile(r"(\$[\\'$]*)\{")
_OPEN_END = re.compile(r"\$[\\'$]*\Z")
_BRACKET = re.compile(r"(?:(?<=%)|(?<=%.))\[", re.DOTALL)
# Cc and the line and paragraph separators; the bidirectional overrides can make a log line read backwards.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def safe_text(text: str, limit: int = 200) -> str:
    """Outside text made fit for a channel variable's value or a log line, at most ``limit`` characters.

    A run of control characters becomes one space, an expansion loses its bracket to a harmless ``(``.
    """
    text = text[: 4 * limit].encode("utf-8", "replace").decode("utf-8")
    text = _BIDI.sub("", _CONTROL.sub(" ", text)).strip()[:limit]
    text = _BRACKET.sub("(", _BRACE.sub(r"\1(", text))
    while text != (shorter := _OPEN_END.sub("", text.rstrip())):  # a dollar at the end waits for what follows
        text = shorter
    return text


def connect() -> bytes:
    """Takes the call; the answer is the channel's data."""
    return b"connect\n\n"


def exit_() -> bytes:
    """Says goodbye. Within 100 ms of ``connect`` it parks the call for ever (capture 24)."""
    return b"exit\n\n"


def resume() -> bytes:
    """Aborts the running application; the dialplan goes on after ``socket``."""
    return b"resume\n\n"


def linger(seconds: int | None = None) -> bytes:
    """Keeps the socket open after the hang-up. Without a number it is ours to close, or it stays for ever."""
    return b"linger\n\n" if seconds is None else b"linger %d\n\n" % seconds


def my_events(format: Format = "json") -> bytes:
    """This call's channel events and DTMF, and a filter on its UUID for every later subscription."""
    return _line("myevents", _format(format))


def events(format: Format, names: Iterable[str], subclasses: Iterable[str] = ()) -> bytes:
    """``event <format> <names> CUSTOM <subclasses>``: every word after CUSTOM is a subclass, so it comes last."""
    words = [_word(name, "event name") for name in names]
    custom = [_word(name, "event subclass") for name in subclasses]
    if "CUSTOM" in words:
        raise ValueError("CUSTOM alone receives nothing; give the subclasses instead")
    if not words and not custom:
        raise ValueError("a subscription needs at least one event name or subclass")
    return _line("event", _format(format), *words, *(["CUSTOM", *custom] if custom else []))


def filter_(header: str, value: str) -> bytes:
    """Only events whose ``header`` holds ``value`` (several filters: any of them)."""
    return _line("filter", _word(header, "filter header"), _text(value, "filter value"))


def divert_events(on: bool) -> bytes:
    """Sends the session's private events here (CUSTOM events are not among them)."""
    return _line("divert_events", "on" if on else "off")


def auth(password: str) -> bytes:
    """The answer to ``auth/request`` on an inbound connection."""
    return _line("auth", _text(Trusted(password), "password"))


def api(name: str, *arguments: str) -> bytes:
    """Runs an API command in the connection's own thread: nothing else is answered until it ends."""
    return _line("api", *_api_words(name, arguments))


def bgapi(job: str, name: str, *arguments: str) -> bytes:
    """Runs an API command in the background; BACKGROUND_JOB with ``Job-UUID: job`` brings its result."""
    return _block(_joined("bgapi", *_api_words(name, arguments)), [("Job-UUID", _word(job, "job"))])


def send_event(subclass: str, headers: Mapping[str, str]) -> bytes:
    """Fires a CUSTOM event that ``fs_cli`` and every subscriber of ``subclass`` sees."""
    lines = [(_word(name, "header"), _text(safe_text(value), name)) for name, value in headers.items()]
    return _block("sendevent CUSTOM", [("Event-Subclass", _word(subclass, "subclass")), *lines])


def execute(
    app: str,
    argument: str = "",
    *,
    event_uuid: str | None = None,
    lock: bool = False,
    loops: int | None = None,
    as_body: bool = False,
    channel: str | None = None,
) -> bytes:
    """``sendmsg``: queues an application on our channel, or on ``channel``.

    ``event_uuid`` returns as Application-UUID in CHANNEL_EXECUTE and CHANNEL_EXECUTE_COMPLETE; with ``lock`` what is
    queued later waits for the end of this one. ``as_body`` sends the argument as a text/plain body, which keeps
    leading spaces.
    """
    headers = [("call-command", "execute"), ("execute-app-name", _word(app, "application"))]
    body = _text(argument, f"argument of {app}")
    if event_uuid is not None:
        headers.append(("event-uuid", _word(event_uuid, "event-uuid")))
    if lock:
        headers.append(("event-lock", "true"))
    if loops is not None:
        headers.append(("loops", str(int(loops))))
    if not body:
        return _block(_to(channel), headers)
    if not as_body:
        return _block(_to(channel), [*headers, ("execute-app-arg", body)])
    data = body.encode()
    headers += [("content-type", "text/plain"), ("content-length", str(len(data)))]
    return _block(_to(channel), headers) + data


def hang_up(cause: str = "NORMAL_CLEARING", channel: str | None = None) -> bytes:
    """``sendmsg hangup``: waits behind a locked playback; ``api uuid_kill`` does not."""
    return _block(_to(channel), [("call-command", "hangup"), ("hangup-cause", _word(cause, "hang-up cause"))])


def dial_string(variables: Mapping[str, str], dial: str) -> str:
    """The argument of ``bridge``: our ``variables`` of the called leg, then ``dial``, the operator's text.

    A value with a comma, quote or bracket would become another variable (switch_event.c
    ``switch_event_create_brackets``), so it raises UnsafeText unless it is Trusted.
    """
    for name, value in variables.items():
        _text(value, name)
        if not isinstance(value, Trusted) and (found := re.search(r"[,'\"\\{}\[\]<>=]", value)):
            raise UnsafeText(f"{name} holds {found[0]!r}, which has a meaning in a dial string")
    pairs = ",".join(f"{_word(name, 'variable')}={value}" for name, value in variables.items())
    return f"{{{pairs}}}{_text(dial, 'dial string')}"


def unicast(local: tuple[str, int], remote: tuple[str, int], *, native: bool = False) -> bytes:
    """``sendmsg unicast``: the call's sound as UDP datagrams between ``local`` (FreeSWITCH) and ``remote`` (us)."""
    headers = [
        ("call-command", "unicast"),
        ("local-ip", _word(local[0], "address")),
        ("local-port", str(int(local[1]))),
        ("remote-ip", _word(remote[0], "address")),
        ("remote-port", str(int(remote[1]))),
        ("transport", "udp"),
    ]
    return _block("sendmsg", [*headers, ("flags", "native")] if native else headers)


def as_written(command: str) -> bytes:
    """A command written out by our own code, header lines included; it must be one command: no empty line."""
    text = command.strip("\n")
    if not text or "\n\n" in text or "\r" in text or "\0" in text:
        raise UnsafeText(f"{command[:80]!r} is not one event socket command: it is empty or holds CR, NUL or \\n\\n")
    return _encode(text + "\n\n")


def name_of(command: bytes) -> str:
    """What a command is called in errors and logs, without its arguments: ``api uuid_kill``, ``execute playback``."""
    first, *rest = command.split(b"\n", 3)
    words = first.split(b" ", 2)
    if words[0] in (b"api", b"bgapi"):
        return b" ".join(words[:2]).decode("utf-8", "replace")
    if words[0] == b"sendmsg" and len(rest) > 1 and rest[0].startswith(b"call-command: "):
        action = rest[0][14:]
        if action == b"execute":
            action += b" " + rest[1].rpartition(b" ")[2]
        return action.decode("utf-8", "replace")
    return words[0].decode("utf-8", "replace")


def _to(channel: str | None) -> str:
    return "sendmsg" if channel is None else f"sendmsg {_word(channel, 'channel')}"


def _api_words(name: str, arguments: Iterable[str]) -> list[str]:
    return [_word(name, "api command"), *(_text(argument, f"argument of {name}") for argument in arguments)]


def _format(format: str) -> str:
    if format not in ("json", "plain"):
        raise ValueError(f"event format is {format!r}; expected 'json' or 'plain'")
    return format


def _joined(*words: str) -> str:
    return " ".join(words)


def _line(*words: str) -> bytes:
    return _block(_joined(*words), ())


def _block(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    return _encode("\n".join([first, *(f"{name}: {value}" for name, value in headers)]) + "\n\n")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnsafeText(f"an event socket command holds a lone surrogate at character {error.start}") from None


def _word(text: str, what: str) -> str:
    if not _WORD.fullmatch(text):
        raise UnsafeText(f"{what} is {text[:80]!r}; expected one word without spaces or control characters")
    return _text(text, what)


def _text(text: str, what: str) -> str:
    if found := _LINE_BREAK.search(text):
        raise UnsafeText(f"{what} holds {found[0]!r} at character {found.start()}; it would begin another command")
    if isinstance(text, Trusted):
        return text
    found = _SCOPE.search(text)
    expansion = found[0] if found else "${" if "${" in text.translate(_BETWEEN) else ""
    if expansion:
        raise UnsafeText(
            f"{what} holds {expansion!r}, which FreeSWITCH would expand; "
            "use safe_text for outside text, Trusted for ours"
        )
    return text
