"""Addresses that operators mistype, and what of an address is told."""

from __future__ import annotations

import pytest

from esl_agent.errors import ConfigError
from esl_agent.providers import registry
from esl_agent.providers.account import account, shown
from esl_agent.providers.base import EngineContext

WRONG = ("http://[::1", "http://", "http://host:99999/x", "http://host:abc", "http://me:sesame@:80?token=sesame")


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_address_is_told_at_the_start(url):
    for use in (account, shown):
        with pytest.raises(ConfigError) as caught:
            use(url)
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "engine", "options"),
    [
        ("llm", "openai", {"url": WRONG[0], "api_key_env": ""}),
        ("llm", "chatbot", {"ws_url": "ws://host:99999"}),
        ("tts", "coqui", {"url": WRONG[2]}),
        ("stt", "vosk", {"url": "ws://host:abc"}),
    ],
)
def test_an_engine_with_such_an_address_is_not_made(stage, engine, options):
    with pytest.raises(ConfigError):
        registry.make(stage, engine, registry.options_class(stage, engine)(**options), EngineContext())


def test_an_address_is_told_without_what_is_secret_in_it():
    assert shown("https://me:sesame@[::1]:8443/v1/?token=sesame#x") == "https://[::1]:8443/v1/"
    assert account("https://me:sesame@host:8443/v1") == "host:8443"
