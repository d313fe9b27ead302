"""Tools that ask a server of the operator's: a request made from the DID's template and the model's values.

    tools = HttpTools(did.cascade.tools.http, environment)      once per DID; reads the secrets of the headers
    post(tools.run(turn, request.call))                         in a greenlet; returns ToolReturned, never raises

The model chooses values, nothing else. The host stands in the template; its address is looked up here, checked, and
the connection is made to that very address (a second look-up could give another one). Redirects are not followed, a
proxy from the environment is not used, and the answer is limited in time and size.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import gevent
import requests

from esl_agent.dialogue.actions import ToolCall
from esl_agent.dialogue.events import ToolReturned
from esl_agent.dialogue.tool_settings import PLACEHOLDER, HttpHeader, HttpToolSettings
from esl_agent.errors import ConfigError, EslAgentError
from esl_agent.providers.outgoing import KnownAuthorities, NoRedirections, authorities
from esl_agent.secret import secret

log = logging.getLogger(__name__)

#: Characters of an answer that the model reads: some thousand tokens.
MAX_RESULT = 4000
_CHUNK = 8192
#: Public addresses that only a cloud's own machines reach, with secrets behind them (Azure).
METADATA = frozenset({"168.63.129.16"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: What IPv6 addresses of the internet are in (RFC 4291); the rest is ours, old, or another protocol's.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: (host, port) -> addresses, the best first. Raises OSError.
Resolve = Callable[[str, int], list[str]]


class Refused(EslAgentError):
    """The request is not made, or its answer not taken; the message is for the model."""


def resolved(host: str, port: int) -> list[str]:
    """Every address of ``host``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]).partition("%")[0] for item in found))


class HttpTools:
    """The HTTP tools of one DID, shared by its calls. Raises ConfigError for a header without its secret and for a
    ``ca_file`` that cannot be read."""

    def __init__(
        self,
        tools: Mapping[str, HttpToolSettings],
        environment: Mapping[str, str] | None = None,
        resolve: Resolve = resolved,
    ) -> None:
        self._tools = tools
        self._resolve = resolve
        known = os.environ if environment is None else environment
        self._headers = {
            name: {
                key: _value(f"tools.http.{name}.headers.{key}", header, known) for key, header in tool.headers.items()
            }
            for name, tool in tools.items()
        }
        self._tls = {
            name: _own_authority(f"tools.http.{name}.ca_file", tool.ca_file) if tool.ca_file else _usual_authorities()
            for name, tool in tools.items()
            if tool.url.startswith("https:")
        }

    def run(self, turn: int, call: ToolCall) -> ToolReturned:
        """Make the request ``call`` (checked by ``Toolbox.check``) asks for. Blocks at most its ``timeout``."""
        tool = self._tools.get(call.name)
        if tool is None:
            return ToolReturned(turn, call.id, "there is no such tool", failed=True)
        try:
            with gevent.Timeout(tool.timeout, Refused(f"no answer within {tool.timeout:g} seconds")):
                status, text = self._ask(tool, self._headers[call.name], self._tls.get(call.name), call.arguments)
        except Refused as refused:
            log.warning("tool %s: %s", call.name, refused)
            return ToolReturned(turn, call.id, str(refused), failed=True)
        except (requests.RequestException, OSError, UnicodeError) as error:
            log.warning("tool %s: %s", call.name, type(error).__name__)
            return ToolReturned(turn, call.id, "the server could not be reached", failed=True)
        if not 200 <= status < 300:
            log.warning("tool %s: HTTP %d", call.name, status)
            return ToolReturned(turn, call.id, f"HTTP {status}: {text}"[:MAX_RESULT], failed=True)
        return ToolReturned(turn, call.id, text or "done")

    def _ask(
        self,
        tool: HttpToolSettings,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        arguments: Mapping[str, Any],
    ) -> tuple[int, str]:
        url = filled_url(tool.url, arguments)
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = self._checked_address(host, port, tool.allow_private)
        literal = f"[{address}]" if address.version == 6 else str(address)
        session = NoRedirections()
        session.trust_env = False
        if tls is not None:
            session.mount("https://", _Pinned(host, tls))
        with (
            session,
            session.request(
                tool.method,
                parts._replace(netloc=f"{literal}:{port}").geturl(),
                headers={"Accept-Encoding": "identity", **headers, "Host": parts.netloc},
                json=_body(tool, arguments),
                timeout=tool.timeout,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            return response.status_code, readable(
                _limited(response, tool.max_bytes), response.headers.get("Content-Type", "")
            )

    def _checked_address(self, host: str, port: int, allow_private: bool) -> Address:
        found = [ipaddress.ip_address(text) for text in self._resolve(host, port)]
        for address in found:
            if allow_private or is_public(address):
                return address
        raise Refused(
            "the server has a private address, which is not allowed" if found else "the server has no address"
        )


def is_public(address: Address) -> bool:
    """Whether everybody may reach it: no private, loopback, link-local, shared, reserved or cloud metadata address,
    nor one of these wrapped into IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and str(address) not in METADATA


def filled_url(template: str, values: Mapping[str, Any]) -> str:
    """The URL with every value percent-encoded, ``/`` too. Raises Refused for one that would climb out of its path."""
    url = PLACEHOLDER.sub(lambda found: quote(_text(values.get(found[1])), safe=""), template)
    if {".", ".."} & set(urlsplit(url).path.split("/")):
        raise Refused("that value cannot stand in an address")
    return url


def readable(data: bytes, content_type: str) -> str:
    """An answer as a model reads it: JSON on one line, text without superfluous blanks, cut at MAX_RESULT."""
    kind = content_type.partition(";")[0].strip().lower()
    text = data.decode("utf-8", "replace")
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        if kind and not kind.startswith("text/") and "json" not in kind and "xml" not in kind:
            return f"({len(data)} bytes of {re.sub(r'[^a-z0-9/.+-]', '', kind)[:60]})"
        text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    text = text.encode("utf-8", "replace").decode()  # JSON may hold half a character, which no file takes
    return text if len(text) <= MAX_RESULT else f"{text[:MAX_RESULT]} (cut)"


class _Pinned(KnownAuthorities):
    """Speaks TLS with ``host`` at whatever address the URL names; ``tls`` says whom to trust."""

    def __init__(self, host: str, tls: ssl.SSLContext) -> None:
        self._host = host
        super().__init__(tls)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **options)


@cache
def _usual_authorities() -> ssl.SSLContext:
    return authorities()


def _own_authority(where: str, file: str) -> ssl.SSLContext:
    try:
        return authorities(file)
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from None


def _limited(response: requests.Response, limit: int) -> bytes:
    """Its body. A compressed one is not taken: it was not asked for, and a little of it can become very much."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refused("the answer is compressed")
    data = bytearray()
    for piece in response.iter_content(_CHUNK):
        data += piece
        if len(data) > limit:
            raise Refused("the answer is too long")
    return bytes(data)


def _value(where: str, header: HttpHeader, environment: Mapping[str, str]) -> str:
    value = header.value
    if not value:
        found = secret(header.value_env, header.value_file, environment)
        if found is None:
            source = header.value_env or header.value_file or "value, value_env or value_file"
            raise ConfigError([f"{where}: no value: {source} is not set or empty"])
        value = found
    if re.search(r"[\r\n\x00]", value):
        raise ConfigError([f"{where}: a header's value is one line"])
    return header.prefix + value


def _body(tool: HttpToolSettings, values: Mapping[str, Any]) -> Any:
    if tool.method in ("GET", "DELETE"):
        return None
    if tool.body is not None:
        return _filled(tool.body, values)
    in_url = set(PLACEHOLDER.findall(tool.url))
    return {name: value for name, value in values.items() if name not in in_url}


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    if whole := PLACEHOLDER.fullmatch(template):
        return values.get(whole[1])
    return PLACEHOLDER.sub(lambda found: _text(values.get(found[1])), template)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
