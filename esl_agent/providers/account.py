"""Who shares what with a service: its limits and its health. Never the key itself, nor a password in an address."""

from __future__ import annotations

import hashlib
from urllib.parse import SplitResult, urlsplit

from esl_agent.errors import ConfigError


def account(url: str, key: str = "") -> str:
    """The host of ``url`` and a digest of ``key``, for ``Identity.account``. Raises ConfigError for what is no
    address."""
    host = parts_of(url).netloc.rpartition("@")[2]
    return f"{host}#{hashlib.sha256(key.encode()).hexdigest()[:12]}" if key else host


def shown(url: str) -> str:
    """``url`` as it may stand in an error: without the name and password, and without the query, that it may hold."""
    parts = parts_of(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def parts_of(url: str) -> SplitResult:
    """``url`` in parts. Raises ConfigError for what is no address."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or (parts.port is not None and not parts.port):
            raise ValueError("no host or port")
    except ValueError as error:
        beginning = url.rpartition("@")[2].partition("?")[0]
        raise ConfigError([f"an address that cannot be one: {beginning!r}: {error}"]) from None
    return parts
