"""What requests to language models have in their head, and answers in their body: keys, JSON, errors, counts."""

from __future__ import annotations

import json
from typing import Any

from esl_agent.errors import Blame, ProviderError
from esl_agent.providers.http import HttpServer, blame_for, one_line
from esl_agent.providers.quotes import beginning, shape, told
from esl_agent.secret import scrubbed
from esl_agent.wire.outside_json import loads

_SETUP = ("auth", "api_key", "permission", "quota", "billing", "not_found")
_REQUEST = ("invalid_request", "context_length", "content_filter", "content_policy", "too_large", "safety")


def parsed(server: HttpServer, text: str) -> dict[str, Any]:
    """A JSON object of a stream (outside text). Raises ProviderError for anything else, and for an error in it."""
    try:
        found = loads(text)
    except ValueError:
        raise server.error(f"expected JSON, got {beginning(text)}") from None
    if not isinstance(found, dict):
        raise server.error(f"expected a JSON object, got {shape(found)}")
    if error := reported(server, found):
        raise error
    return found


def reported(server: HttpServer, found: dict[str, Any]) -> ProviderError | None:
    """The error that ``found`` is, in any of the shapes that servers give it; None for anything else."""
    if not found.get("error") and "error" not in (found.get("object"), found.get("type")):
        return None
    code, message = told(json.dumps(found))
    shown = f"{code} {message}".strip() if code != message else code
    error = server.error(shown, blame=(blame := _blame(code)), retryable=blame == "service")
    error.code = one_line(scrubbed(code, server.secrets))[:100]
    return error


def _blame(code: str) -> Blame:
    if code.isdecimal() and 400 <= int(code[:4]) < 600:
        return blame_for(int(code[:4]))
    if any(word in code.lower() for word in _SETUP):
        return "setup"
    return "request" if any(word in code.lower() for word in _REQUEST) else "service"


def key_header(name: str, key: str) -> dict[str, str]:
    """The header that carries ``key``; none for an empty one."""
    if not key:
        return {}
    return {name: f"Bearer {key}" if name.lower() == "authorization" else key}


def count(value: Any) -> int:
    """A number of tokens (outside text)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def ended_early(server: HttpServer) -> ProviderError:
    """The connection was closed politely before the model had ended."""
    return server.error("the answer ended in the middle")
