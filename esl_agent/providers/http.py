"""One provider's way to its HTTP server: connections kept for all calls, answers as they come, errors that say whom to
blame, no key in any of them.

    server = HttpServer("llm", options.url, headers={"Authorization": f"Bearer {key}"}, secrets=(key,))
    with server.ask("POST", "chat/completions", json=body, expect="text/event-stream") as answer:
        for event in answer.events(until="[DONE]"): ...

Everything raised is a ``ProviderError``. Leaving the block early closes the connection, at the end it is kept.
"""

from __future__ import annotations

import email.utils
import http.client
import json as jsonlib
import math
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import requests
import urllib3.exceptions

from esl_agent.errors import Blame, ProviderError, Stage, WireError
from esl_agent.providers.account import shown as where
from esl_agent.providers.outgoing import session
from esl_agent.providers.plain_words import plainly
from esl_agent.providers.quotes import beginning, texts_of, told, unquoted
from esl_agent.secret import scrubbed
from esl_agent.wire.outside_json import loads
from esl_agent.wire.sse import Lines, ServerEvent, ServerEvents

#: Bytes of an answer that is read whole.
MAX_ANSWER = 8 * 1024 * 1024
#: Bytes of an error's body that are looked at, and characters of it that are told.
MAX_ERROR = 16 * 1024
MAX_TOLD = 300
#: Seconds that an answer's end may take after its last useful event, so that its connection can be kept.
DRAIN = 0.25
#: RFC 9110 and what services use besides (425 Too Early, 529 overloaded): the same request may succeed later.
RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
#: Key, credit, plan: nothing will succeed until somebody acts.
_SETUP = frozenset({401, 402, 403, 407})
#: A refusal with status 429 that is no matter of time (OpenAI, and what imitates it), and one with 400 (Anthropic).
_QUOTA = ("insufficient_quota", "quota_exceeded", "billing", "credit balance")
#: In what ngrok says in place of the server behind it, with 404, 502 or 400 (ngrok-docs, errors).
_TUNNEL = "ERR_NGROK_"
_CODINGS = ("", "identity", "gzip", "x-gzip", "deflate")
#: In an address that an error names: voices are asked with their text in it.
_QUERY = re.compile(r"\?[^\s'\")]+")
_READ = 65536
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

_FAULTS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    UnicodeError,  # a host name that cannot be one
)


class HttpServer:
    """Where a provider's requests go. ``secrets`` never appear in an error, whatever the server says."""

    def __init__(
        self,
        stage: Stage,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        ca_file: str = "",
        connect_timeout: float = 3.0,
        read_timeout: float = 30.0,
    ) -> None:
        """``read_timeout``: seconds between any two pieces of an answer, at the very most: whoever uses the provider
        has deadlines of his own. Raises ConfigError for a ``ca_file`` that cannot be read."""
        self.stage: Stage = stage
        self.base_url = base_url.rstrip("/")
        self.where = where(self.base_url)
        self.secrets = tuple(secrets)
        self._timeout = (connect_timeout, read_timeout)
        self._session = session(self.base_url, dict(headers or {}), ca_file)

    def ask(
        self,
        method: str,
        path: str = "",
        *,
        expect: str | tuple[str, ...] = "",
        json: Any = None,
        data: Any = None,
        files: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        read_timeout: float | None = None,
    ) -> Answer:
        """Send a request and wait for the head of its answer. ``path`` is joined to the base URL; ``files`` and
        ``data`` as ``requests`` has them. ``expect``: how the answer's content type must begin, in one of these
        ways; an error page with status 200 does not. ``json`` goes out as UTF-8. ``accept``: statuses outside 2xx
        whose answer is wanted all the same. ``read_timeout``: other than the server's."""
        url = f"{self.base_url}/{path.lstrip('/')}" if path else self.base_url
        extra = dict(headers or {})
        if json is not None:
            data = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            extra.setdefault("Content-Type", "application/json")
        try:
            response = self._session.request(
                method,
                url,
                data=data,
                files=files,
                params=params,
                headers=extra,
                timeout=(self._timeout[0], read_timeout or self._timeout[1]),
                stream=True,
                allow_redirects=False,
            )
        except _FAULTS as error:
            raise self.fault(error) from None
        answer = Answer(self, response, (json, data, params))
        try:
            if response.status_code in accept:
                return answer
            if not 200 <= response.status_code < 300:
                raise answer.refusal()
            if answer.coding not in _CODINGS:
                raise self.error(f"an answer in {answer.coding!r}, which nobody asked for")
            if expect and not answer.content_type.startswith(expect):
                excerpt = scrubbed(beginning(one_line(answer.excerpt())), self.secrets)
                wanted = expect if isinstance(expect, str) else " or ".join(expect)
                raise self.error(f"expected {wanted}, got {answer.content_type or 'no content type'}: {excerpt}")
        except BaseException:
            answer.close()
            raise
        return answer

    def connect(self, path: str = "") -> None:
        """Have a connection ready before it is needed. Whatever goes wrong is found out when it is. ``path``: where the
        server has something to read; some (llama.cpp's) keep no connection whose answer was an error."""
        url = f"{self.base_url}/{path.lstrip('/')}" if path else self.base_url
        try:
            self._session.request("HEAD", url, timeout=(self._timeout[0], 5.0), allow_redirects=False).close()
        except _FAULTS:
            return

    def error(self, message: str, *, retryable: bool = True, blame: Blame = "service") -> ProviderError:
        """A ProviderError about this server."""
        shown = one_line(scrubbed(message, self.secrets))[:MAX_TOLD]
        return ProviderError(self.stage, f"{self.where}: {shown}", retryable=retryable, blame=blame)

    def fault(self, error: BaseException) -> ProviderError:
        """The ProviderError for a connection that failed."""
        text = plainly(error)
        is_setup = "certificate" in text or isinstance(
            error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | UnicodeError
        )
        return self.error(
            _QUERY.sub("?...", text)[:MAX_TOLD], retryable=not is_setup, blame="setup" if is_setup else "service"
        )


class Answer:
    """An answer whose body is still to come. A context manager; leaving it closes what was not read to its end."""

    def __init__(self, server: HttpServer, response: requests.Response, sent: tuple[Any, ...] = ()) -> None:
        """``sent``: what was asked; no error quotes it."""
        self._server = server
        self._sent = sent
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.coding = self.headers.get("Content-Encoding", "").strip().lower()
        if self.coding:  # a proxy's doing: we ask for none
            response.raw.decode_content = True

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def close(self) -> None:
        """Idempotent, never raises. A connection whose answer was read to its end went back before."""
        try:
            self._response.close()
        except _FAULTS:
            return

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, in pieces of any length but 0."""
        raw = self._response.raw
        try:
            while self._acknowledge() and (piece := raw.read1(_READ)):
                yield piece
            if raw.length_remaining:
                raise self._server.error(f"the answer ended {raw.length_remaining} bytes early")
        except _FAULTS as error:
            raise self._server.fault(error) from None

    def _acknowledge(self) -> bool:
        """Tell the server at once that its last piece is here: one that leaves Nagle's algorithm on (cpp-httplib and
        others) holds the next back until then, and Linux takes 40 ms of its own accord (tcp(7), TCP_QUICKACK, which
        holds for one piece only)."""
        if _QUICKACK is not None and (sock := getattr(self._response.raw.connection, "sock", None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return True

    def events(self, until: str = "") -> Iterator[ServerEvent]:
        """Server-sent events. ``until``: the data of the last one, which is not given out; after it the answer's end
        is waited for, briefly, so that its connection can be kept."""
        parser = ServerEvents()
        try:
            for piece in self.pieces():
                for event in parser.feed(piece):
                    if until and event.data.strip() == until:
                        self.drain()
                        return
                    yield event
            for event in parser.end():
                if not until or event.data.strip() != until:
                    yield event
        except WireError as error:
            raise self._server.error(str(error)) from None

    def lines(self) -> Iterator[str]:
        """Lines of text that are not empty (NDJSON)."""
        cutter = Lines()
        try:
            for piece in self.pieces():
                yield from filter(None, cutter.feed(piece))
            if rest := cutter.end():
                yield rest
        except WireError as error:
            raise self._server.error(str(error)) from None

    def whole(self, limit: int = MAX_ANSWER) -> bytes:
        """All of it. Raises ProviderError for more than ``limit`` bytes."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise self._server.error(f"an answer of more than {limit} bytes", retryable=False)
        return bytes(data)

    def json(self, limit: int = MAX_ANSWER) -> Any:
        """The whole answer as JSON. Raises ProviderError for anything else."""
        data = self.whole(limit)
        try:
            return loads(data)
        except ValueError:
            raise self._server.error(f"expected JSON, got {beginning(data.decode(errors='replace'))}") from None

    def hurry(self, seconds: float) -> None:
        """All that matters has come: from now on no two pieces of the answer may be farther apart."""
        try:
            if (sock := getattr(self._response.raw.connection, "sock", None)) is not None:
                sock.settimeout(seconds)
        except OSError:
            return

    def drain(self) -> None:
        """Read the rest, if it comes soon and is short; else the connection will be closed."""
        self.hurry(DRAIN)
        try:
            for _ in zip(range(16), iter(lambda: self._response.raw.read1(_READ), b""), strict=False):
                pass
        except _FAULTS:
            return

    def excerpt(self) -> str:
        """The beginning of the body, for an error."""
        data = b""
        try:
            while len(data) < MAX_ERROR and (piece := self._response.raw.read1(MAX_ERROR)):
                data += piece
        except _FAULTS:
            pass
        return data[:MAX_ERROR].decode("utf-8", "replace")

    def refusal(self) -> ProviderError:
        """The ProviderError for a status that is none of 2xx."""
        excerpt = self.excerpt()
        code, message = told(excerpt)
        blame = blame_for(self.status, f"{code} {message}" if "credit balance" in message else code)
        if _TUNNEL in f"{self.headers.get('ngrok-error-code', '')} {excerpt}":
            blame = "service"  # whose server is away for now, whatever the status
        should_retry = {"true": True, "false": False}.get(self.headers.get("x-should-retry", ""), blame == "service")
        moved = f"moved to {self.headers['Location']}" if "Location" in self.headers else ""
        why = unquoted(one_line(f"{code} {message}"), texts_of(*self._sent))
        shown = scrubbed(one_line(f"HTTP {self.status} {moved} {why}"), self._server.secrets)[:MAX_TOLD]
        return ProviderError(
            self._server.stage,
            f"{self._server.where}: {shown}",
            retryable=should_retry,
            retry_after=retry_after(self.headers, time.time()),
            blame=blame,
            status=self.status,
            code=one_line(scrubbed(code, self._server.secrets))[:MAX_TOLD],
        )


def blame_for(status: int, code: str = "") -> Blame:
    """Whom a refusal blames, by its HTTP status (services repeat it in WebSocket messages) and its code."""
    if status in _SETUP or any(word in code for word in _QUOTA):
        return "setup"
    if status in RETRYABLE or status >= 500:
        return "service"
    return "setup" if status in (404, 405) or 300 <= status < 400 else "request"


def retry_after(headers: Mapping[str, str], wall_clock: float) -> float | None:
    """Seconds from now, by ``retry-after-ms`` or ``Retry-After`` (seconds or a date, RFC 9110 10.2.3); None without."""
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("Retry-After", ""))
        return max(0.0, date.timestamp() - wall_clock)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def one_line(text: str) -> str:
    """The beginning of outside text without line ends, control characters and what else cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:MAX_ERROR]).split())
