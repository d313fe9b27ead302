"""What every pretend language model service has, so that one contract can be run against all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from esl_agent.testing.web import PretendHttp, Reply, Request

#: The key that a pretend service wants, with characters that an address or a pattern would change.
KEY = "sk-pretend/0123456789+abcdef="


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that the pretend model calls."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """A request that the real service would refuse: ``status``, ``code`` and what it says."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PretendModel:
    """A service that says ``texts``, a piece each, and calls ``calls``, over HTTP. Used as a context manager it is
    started and stopped. ``bodies`` keeps every request that it took."""

    content_type = "application/json"

    def __init__(self, method: str, path: str, key: str = KEY, tls: tuple[str, str] | None = None) -> None:
        self.texts: list[str] = ["Hello", " there.", " How are you?"]
        self.calls: list[Called] = []
        self.key = key
        self.bodies: list[dict[str, Any]] = []
        self.http = PretendHttp(tls)
        self.http.route(method, path, self._answered)

    def __enter__(self) -> Any:
        self.http.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.stop()

    def pieces(self) -> list[bytes]:
        """The answer in the pieces in which it is sent."""
        raise NotImplementedError

    def check(self, request: Request) -> dict[str, Any]:
        """The request's body. Raises Refused for what the real service would not take."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Reply:
        """How the service puts it."""
        raise NotImplementedError

    def unended(self) -> bytes:
        """An answer that stops in the middle although the connection ends politely."""
        return b"".join(self.pieces()[:-1])[:-3]

    def failing(self) -> bytes | None:
        """An answer with status 200 that turns into an error; None where the service has no such thing."""
        return None

    def _answered(self, request: Request) -> Reply:
        try:
            self.bodies.append(self.check(request))
        except Refused as refused:
            return self.refusal(refused)
        return Reply(self.pieces(), content_type=self.content_type)


def body_like(shape: type[Any], request: Request) -> dict[str, Any]:
    """The JSON body, if it is of ``shape`` and nothing more. Raises Refused (400) else."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refused(415, "unsupported_media_type", "expected application/json")
    try:
        TypeAdapter(shape).validate_json(request.body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(400, "invalid_request_error", f"{where}: {first['msg']}") from None
    return dict(json.loads(request.body))


def events(*found: Mapping[str, Any], name: Callable[[Mapping[str, Any]], str] | None = None) -> list[bytes]:
    """Server-sent events of JSON; ``name`` gives each its name."""
    heads = [f"event: {name(each)}\n" if name else "" for each in found]
    return [
        f"{head}data: {json.dumps(each, ensure_ascii=False)}\n\n".encode()
        for head, each in zip(heads, found, strict=True)
    ]
