"""A DID whose calls a speech-to-speech agent has."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

from esl_agent import cli
from esl_agent.advice import advice, unpriced
from esl_agent.config import Config, check, load
from esl_agent.config.schema import schemas
from esl_agent.errors import ConfigError, ProviderError
from esl_agent.lineup import make_lineup
from esl_agent.providers import registry
from esl_agent.providers.nobody import Nobody

KEY = "fake-key-0123456789"
AGENT = "default: true\nprompt: x\nagent: openai_realtime\n"


def accepts(text: str) -> bool:
    """Whether an editor takes it for a DID."""
    schema = json.loads(schemas(registry)["did.json"])
    return bool(jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text)))


class Conf:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "dids").mkdir()
        self.agent("")

    def agent(self, text: str) -> None:
        (self.path / "agent.yaml").write_text(text, encoding="utf-8")

    def load(self, did: str) -> Config:
        (self.path / "dids" / "a.yaml").write_text(did, encoding="utf-8")
        return load(self.path, environment={})

    def problems(self, did: str) -> list[str]:
        (self.path / "dids" / "a.yaml").write_text(did, encoding="utf-8")
        return check(self.path, environment={})


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conf:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return Conf(tmp_path)


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("agent: openai_realtime", ["gpt-realtime-mini"]),
        ("agent: {engine: openai_realtime, model: x}", ["x"]),
        ("agent: [{engine: openai_realtime, model: x}, openai_realtime]", ["x", "gpt-realtime-mini"]),
    ],
)
def test_an_agent_is_a_word_a_mapping_or_a_list_and_nobody_else_listens_or_thinks(
    conf: Conf, text: str, models: list[str]
) -> None:
    did = conf.load(f"default: true\n{text}\n").dids[0]
    assert did.has_agent
    assert [spec.options.model for spec in did.engines.agent] == models
    assert (did.engines.stt, did.engines.llm) == ((), ())
    assert [spec.name for spec in did.engines.tts] == ["embedded"]
    assert accepts(f"default: true\n{text}\n")


@pytest.mark.parametrize("text", ["", "agent: {}\n", "agent: []\n", "agent: ''\n"])
def test_without_an_agent_there_are_recogniser_model_and_voice(conf: Conf, text: str) -> None:
    did = conf.load(f"default: true\n{text}").dids[0]
    assert not did.has_agent
    assert (did.engines.stt[0].name, did.engines.llm[0].name) == ("embedded", "rules")


@pytest.mark.parametrize("text", ["agent: []\n", "agent: ''\n"])
def test_a_did_does_without_the_agent_that_all_have(conf: Conf, text: str) -> None:
    conf.agent("defaults: {agent: {engine: openai_realtime, model: x}}\n")
    assert conf.load("default: true\n").dids[0].has_agent
    assert not conf.load(f"default: true\n{text}").dids[0].has_agent
    assert accepts(f"default: true\n{text}")


def test_an_agent_that_does_not_exist_is_a_mistake_with_its_line(conf: Conf) -> None:
    [line] = conf.problems("default: true\nagent: openai_realtim\n")
    assert "a.yaml:2: agent" in line
    assert "did you mean" in line
    [line] = conf.problems("default: true\nagent: {engine: openai_realtime, modell: x}\n")
    assert "agent.modell: unknown setting" in line


def test_a_missing_key_is_found_before_a_call_needs_it(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="agent: engine openai_realtime"):
        make_lineup(conf.load(AGENT))


def test_only_agent_and_voice_are_made_and_asking_anybody_else_is_refused(conf: Conf) -> None:
    engines = make_lineup(conf.load(AGENT)).engines["default"]
    assert [agent.identity.name for agent in engines.agents] == ["openai/gpt-realtime-mini"]
    assert isinstance(engines.stt, Nobody)
    assert isinstance(engines.llm, Nobody)
    with pytest.raises(ProviderError):
        engines.stt.recognise(iter([]), 8000)
    with pytest.raises(ProviderError):
        engines.llm.reply(())


def test_what_has_no_effect_with_an_agent_is_told_where_the_did_says_it(conf: Conf) -> None:
    conf.agent("defaults: {stt: vosk, endpointing: {silence: 1}}\n")
    config = conf.load(
        f"{AGENT}llm: {{engine: rules}}\nlanguages: {{de: {{prompt: y}}}}\nendpointing: {{silence: 1}}\n"
        "barge_in:\n  enabled: true\n  hesitate: duck\n"
    )
    told = [line for line in advice(config, date(2026, 11, 21)) if "no effect with agent" in line]
    assert [line.partition("a.yaml:")[2].partition(": no effect")[0] for line in told] == [
        "4: llm",
        "5: languages",
        "6: endpointing",
        "9: barge_in.hesitate",
    ]
    assert config.dids[0].languages == {}
    assert config.dids[0].offered_languages == ("en",)
    assert make_lineup(config).duties_of(config.dids[0]).languages == {}


def test_an_agent_without_a_prompt_is_doubted(conf: Conf) -> None:
    config = conf.load("default: true\nagent: {engine: openai_realtime, model: x}\n")
    [line] = advice(config, date(2026, 11, 21))
    assert "a.yaml:2: agent: engine openai_realtime has no prompt" in line


def test_a_realtime_model_whose_end_is_announced_is_a_warning(conf: Conf) -> None:
    config = conf.load(AGENT)
    [line] = advice(config, date(2026, 11, 21))
    assert "agent: engine openai_realtime: api.openai.com will serve the model 'gpt-realtime-mini' no longer" in line
    assert "2027-01-20" in line
    assert "gpt-realtime-2.1" in line
    config = conf.load(AGENT.replace("openai_realtime", "{engine: openai_realtime, model: gpt-realtime-2.1-mini}"))
    assert advice(config, date(2026, 11, 21)) == []


def test_an_agent_without_a_price_under_a_budget_is_named(conf: Conf) -> None:
    did = f"{AGENT}budget: {{call_limit: 1}}\n"
    [line] = unpriced(make_lineup(conf.load(did)))
    assert "agent: engine openai/gpt-realtime-mini counts as free" in line
    conf.agent("prices: {openai/gpt-realtime*: {audio_input: 10, audio_output: 20}}\n")
    config = conf.load(did)
    assert unpriced(make_lineup(config)) == []
    assert not [line for line in advice(config, date(2026, 11, 21)) if "prices" in line]
    conf.agent("prices: {openai/gpt-live-transcribe: {minute: 0.01}}\n")
    assert not [line for line in advice(conf.load(did), date(2026, 11, 21)) if "prices" in line]
    conf.agent("prices: {openai/gpt-realtime*: {characters: 1}}\n")
    assert [line for line in advice(conf.load(did), date(2026, 11, 21)) if "no effect on the agent engine" in line]


@pytest.mark.parametrize("command", [["talk", "5000"], ["demo", "--did", "5000"]])
def test_who_has_no_telephone_is_told_that_an_agent_needs_one(
    conf: Conf, command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conf.load(AGENT)
    out = ["--out", str(tmp_path / "out")] if command[0] == "demo" else []
    assert cli.main([*command, "--conf", str(conf.path), *out]) == 2
    assert f"{command[0]}: 5000 is answered by a realtime agent" in capsys.readouterr().err


def test_check_says_which_number_has_an_agent(conf: Conf, capsys: pytest.CaptureFixture[str]) -> None:
    conf.load(AGENT)
    assert cli.main(["check", str(conf.path)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("default")
    assert line.endswith("a.yaml), realtime agent: openai_realtime")
