"""Who shares what with a service: its limits and its health. Never the key itself, nor a password in an address."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit


def account(url: str, key: str = "") -> str:
    """The host of ``url`` and a digest of ``key``, for ``Identity.account``."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or url
    return f"{host}#{hashlib.sha256(key.encode()).hexdigest()[:12]}" if key else host


def shown(url: str) -> str:
    """``url`` as it may stand in an error: without the name and password, and without the query, that it may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
