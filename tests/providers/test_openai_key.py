"""OpenAI's key goes to OpenAI, and a server of one's own needs none."""

from __future__ import annotations

from typing import Any

import pytest

from esl_agent.errors import ConfigError, Stage
from esl_agent.providers import registry
from esl_agent.providers.base import EngineContext
from esl_agent.providers.openai_key import is_openai

KEY = "sk-proj-0123456789"
STAGES: tuple[Stage, ...] = ("stt", "llm", "tts")


def headers(stage: Stage, **options: Any) -> dict[str, str]:
    """What the engine ``openai`` sends with every request."""
    made = registry.options_class(stage, "openai")(**options)
    engine = registry.make(stage, "openai", made, EngineContext("en", ()))
    return {name: str(value) for name, value in engine._server._session.headers.items()}


@pytest.mark.parametrize(
    ("url", "is_theirs"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://API.OPENAI.COM./v1", True),
        ("http://api.openai.com/v1", False),
        ("https://notopenai.com/v1", False),
        ("https://api.openai.com.example.net/v1", False),
        ("https://example.net/api.openai.com", False),
        ("http://192.168.1.5:8000/v1", False),
        ("https://my-resource.openai.azure.com/openai", False),
    ],
)
def test_openai_is_known_by_its_host_and_only_over_tls(url: str, is_theirs: bool) -> None:
    assert is_openai(url) == is_theirs


@pytest.mark.parametrize("stage", STAGES)
def test_the_key_in_openais_variable_goes_to_openai_and_to_nobody_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert headers(stage)["Authorization"] == f"Bearer {KEY}"
    assert headers(stage, url="https://eu.api.openai.com/v1")["Authorization"] == f"Bearer {KEY}"
    for url in ("http://192.168.1.5:8000/v1", "https://example.net/v1", "http://api.openai.com/v1"):
        assert KEY not in repr(headers(stage, url=url))
        assert headers(stage, url=url, api_key_env="OPENAI_API_KEY")["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_key_is_missed_at_openai_and_where_one_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("LOCAL_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        headers(stage)
    with pytest.raises(ConfigError, match="LOCAL_KEY is not set"):
        headers(stage, url="http://127.0.0.1:8000/v1", api_key_env="LOCAL_KEY")
    assert headers(stage, url="http://127.0.0.1:8000/v1")


@pytest.mark.parametrize(
    ("stage", "path"), [("stt", "audio/transcriptions"), ("llm", "chat/completions"), ("tts", "audio/speech")]
)
def test_an_address_with_the_path_that_is_added_anyway_is_refused(stage: Stage, path: str) -> None:
    options = registry.options_class(stage, "openai")
    for url in (f"http://127.0.0.1:8080/v1/{path}", f"http://127.0.0.1:8080/v1/{path}/", f"https://x/v1/{path}?a=b"):
        with pytest.raises(ValueError, match=f"adds /{path} itself"):
            options(url=url)
    options(url="http://127.0.0.1:8080/v1")
