"""Every served language model keeps the contract, against its own pretend service."""

from __future__ import annotations

from typing import Any

from esl_agent.providers import registry
from esl_agent.providers.base import EngineContext
from esl_agent.testing.pretend_anthropic import PretendAnthropic
from esl_agent.testing.pretend_chatbot import PretendChatbotHttp
from esl_agent.testing.pretend_llama3_api import PretendLlama3Api
from esl_agent.testing.pretend_ollama import PretendOllama
from esl_agent.testing.pretend_openai_chat import PretendChatCompletions
from esl_agent.testing.pretend_rasa import PretendRasa
from tests.providers.contract_llm import VARIABLE, ServedModelContract, certificate

__all__ = ["certificate"]


def engine(name: str, **options: Any) -> Any:
    return registry.make("llm", name, registry.options_class("llm", name)(**options), EngineContext())


class TestOpenAi(ServedModelContract):
    def service(self, key, tls=None):
        return PretendChatCompletions(key, tls)

    def engine(self, url, **options):
        return engine("openai", url=url, api_key_env=VARIABLE, **options)


class TestAzure(TestOpenAi):
    def engine(self, url, **options):
        query = {"api-version": "2025-04-01"}
        return super().engine(url, key_header="api-key", query=query, stream_usage=False, **options)


class TestKeylessServer(TestOpenAi):
    key = ""

    def engine(self, url, **options):
        return engine("openai", url=url, api_key_env="", **options)


class TestAnthropic(ServedModelContract):
    def service(self, key, tls=None):
        return PretendAnthropic(key, tls)

    def engine(self, url, **options):
        return engine("anthropic", url=url, api_key_env=VARIABLE, **options)


class TestOllama(ServedModelContract):
    def service(self, key, tls=None):
        return PretendOllama(key, tls)

    def engine(self, url, **options):
        return engine("ollama", model="llama3.2", url=url, api_key_env=VARIABLE, **options)


class TestLlama3Api(ServedModelContract):
    streams = False

    def service(self, key, tls=None):
        return PretendLlama3Api(key, tls)

    def engine(self, url, **options):
        return engine("llama3_api", url=url, api_key_env=VARIABLE, **options)


class TestChatbotByHttp(ServedModelContract):
    streams = False

    def service(self, key, tls=None):
        return PretendChatbotHttp(key, tls)

    def engine(self, url, **options):
        return engine("chatbot", api_url=url, api_key_env=VARIABLE, **options)


class TestRasa(ServedModelContract):
    streams = False

    def service(self, key, tls=None):
        return PretendRasa(key, tls)

    def engine(self, url, **options):
        return engine("rasa", url=url, token_env=VARIABLE, **options)
