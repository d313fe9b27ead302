"""What the engines ``openai`` have in common: OpenAI's key goes to OpenAI and nowhere else; paths begin at ``url``."""

from __future__ import annotations

from esl_agent import secret
from esl_agent.providers.account import parts_of

#: Where OpenAI's own key is, unless YAML names another place.
VARIABLE = "OPENAI_API_KEY"
DOC = (
    "Environment variable that holds the key; a name that is given is needed. Empty: OPENAI_API_KEY where `url` is "
    "https at openai.com, and no key at any other host."
)


def key(where: str, url: str, variable: str, file: str) -> str:
    """The key for ``url``, empty where none is sent. Raises ConfigError where one is needed and missing."""
    variable = variable or (VARIABLE if is_openai(url) else "")
    return secret.required(where, variable, file) if variable or file else ""


def is_openai(url: str) -> bool:
    """Whether ``url`` is OpenAI's own, so that nobody on the way and no other host sees the key."""
    parts = parts_of(url)
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme == "https" and (host == "openai.com" or host.endswith(".openai.com"))


def check_url(url: str, path: str) -> None:
    """Raises ValueError where ``url`` holds the ``path`` that the engine adds itself."""
    if url.partition("?")[0].rstrip("/").endswith(f"/{path}"):
        raise ValueError(f"url: the engine adds /{path} itself; leave it out, so that url ends before it, as in .../v1")
