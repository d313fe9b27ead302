"""Who serves a DID: an engine's name, a mapping, or a list in which those behind take over."""

from __future__ import annotations

from pathlib import Path

import pytest

from esl_agent.config import load
from esl_agent.config.did import EngineSpec
from esl_agent.errors import ConfigError
from esl_agent.lineup import make_lineup
from tests.test_config_files import RemoteOptions, RulesOptions, Settings
from tests.test_config_schema import accepts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def llm(settings: Settings) -> tuple[tuple[str, object], ...]:
    did = settings.load().find("1")
    assert did is not None
    return tuple((spec.name, spec.options) for spec in did.engines.llm)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llm: rules", (("rules", RulesOptions()),)),
        ("llm: {engine: rules}", (("rules", RulesOptions()),)),
        ("llm: [rules]", (("rules", RulesOptions()),)),
        (
            "llm: [{engine: remote, url: a}, {engine: remote, url: b, timeout: 3}, rules]",
            (("remote", RemoteOptions("a")), ("remote", RemoteOptions("b", timeout=3)), ("rules", RulesOptions())),
        ),
    ],
)
def test_an_engine_is_a_word_a_mapping_or_a_list_of_them(settings: Settings, text: str, expected: object) -> None:
    settings.did(f"did: 1\n{text}\n")
    assert llm(settings) == expected
    assert accepts("did.json", f"did: 1\n{text}\n")


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ("{engine: remote, url: a}", "remote", [("remote", RemoteOptions("a"))]),
        ("{engine: remote, url: a}", "rules", [("rules", RulesOptions())]),
        ("[{engine: remote, url: a}, rules]", "{engine: remote, url: b}", [("remote", RemoteOptions("b"))]),
        ("{engine: remote, url: a}", "[rules]", [("rules", RulesOptions())]),
        ("[rules]", "[{engine: remote, url: b}]", [("remote", RemoteOptions("b"))]),
    ],
)
def test_a_list_replaces_and_is_replaced_and_only_the_same_engines_options_merge(
    settings: Settings, defaults: str, own: str, expected: list[object]
) -> None:
    settings.agent(f"defaults:\n  llm: {defaults}\n")
    settings.did(f"did: 1\nllm: {own}\n")
    assert list(llm(settings)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("llm: rulez\n", "2: llm.engine: expected one of rules, remote, got 'rulez'; did you mean 'rules'?"),
        (
            "llm:\n- rules\n- rulez\n",
            "4: llm[1].engine: expected one of rules, remote, got 'rulez'; did you mean 'rules'?",
        ),
        (
            "llm:\n- rules\n- engine: remote\n  url: x\n  timeot: 3\n",
            "6: llm[1].timeot: unknown setting; did you mean 'timeout'?",
        ),
        ("llm:\n- rules\n- engine: remote\n", "4: llm[1].url: is required and not given"),
        ("llm:\n- rules\n- {url: x}\n", "4: llm[1].engine: expected one of rules, remote, got none"),
        (
            "llm:\n- rules\n- 5\n",
            "4: llm[1]: expected an engine's name, or a mapping with `engine` and its options, got 5",
        ),
        ("llm: []\n", "2: llm: expected at least one engine, got an empty list"),
        ("llm: true\n", "2: llm: expected a mapping (`key: value` lines) or a list, got true"),
        ("resilience:\n  tts: {frist: 3}\n", "3: resilience.tts.frist: unknown setting; did you mean 'first'?"),
    ],
)
def test_a_mistake_in_a_list_is_said_with_its_place(settings: Settings, text: str, problem: str) -> None:
    settings.did(f"did: 1\n{text}")
    assert settings.problems() == [f"dids/a.yaml:{problem}"]
    assert not accepts("did.json", f"did: 1\n{text}") or "required" in problem


def test_a_mistake_in_the_list_of_a_language_or_of_the_defaults_is_said_with_its_place(settings: Settings) -> None:
    settings.agent("defaults:\n  tts:\n  - embedded\n  - nobody\n")
    settings.did("did: 1\ntts: embedded\nlanguages:\n  de:\n    llm:\n    - rules\n    - engine: remote\n")
    assert settings.problems() == [
        "agent.yaml:4: defaults.tts[1].engine: expected one of embedded, got 'nobody'",
        "dids/a.yaml:7: languages.de.llm[1].url: is required and not given",
    ]


def test_a_language_has_a_list_of_its_own(settings: Settings) -> None:
    settings.did("did: 1\nlanguages:\n  de: {llm: [{engine: remote, url: x}, rules]}\n  fr: {llm: rules}\n")
    did = settings.load().find("1")
    assert did is not None
    assert [spec.name for spec in did.languages["de"].engines.llm] == ["remote", "rules"]
    assert did.languages["fr"].engines.llm == (EngineSpec("llm", "rules", RulesOptions()),)


def test_what_every_engine_of_a_list_expects_to_hear_is_known_to_the_recogniser(settings: Settings) -> None:
    settings.did("did: 1\nllm:\n- {engine: rules, rules: [{say: yes}]}\n- {engine: rules, rules: [{say: x}]}\n")
    did = settings.load().find("1")
    assert did is not None
    assert did.context.phrases == ("yes", "x")


def test_a_tool_that_a_fallback_calls_must_be_offered_too(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.did("did: 1\nllm:\n- rules\n- engine: rules\n  rules: [{when: [x], say: y, tool: nothing}]\n")
    with pytest.raises(ConfigError, match=r"a.yaml:\d: llm\[1\].rules: a rule calls the tool 'nothing'"):
        load(tmp_path, environment={})


def test_a_fallback_without_its_key_is_found_before_a_call_needs_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.did("did: 1\nstt:\n- embedded\n- {engine: deepgram, api_key_env: NOT_SET_ANYWHERE}\n")
    with pytest.raises(ConfigError) as caught:
        make_lineup(load(tmp_path, environment={}))
    [line] = caught.value.problems
    assert line.startswith(f"{tmp_path}/dids/a.yaml:4: stt[1]: engine deepgram: no key: the environment variable NOT_")
    assert "api_key_file" in line
    assert "esl-agent check" in line


def test_what_an_engine_cannot_use_is_told_with_its_line_also_in_the_defaults_and_in_a_language(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.agent("defaults:\n  tts:\n    - {engine: elevenlabs}\n    - embedded\n")
    settings.did("did: 1\nlanguages:\n  de:\n    prompt: Deutsch\n")
    (tmp_path / "dids/default.yaml").unlink()
    with pytest.raises(ConfigError) as caught:
        make_lineup(load(tmp_path, environment={}))
    voice, german = caught.value.problems
    assert voice.startswith(f"{tmp_path}/agent.yaml:3: defaults.tts[0]: engine elevenlabs needs the id of a voice")
    assert german.startswith(f"{tmp_path}/dids/a.yaml:3: languages.de")
    assert "knows English only" in german


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("remote: {url: x}", "llm[0].engine: expected `{engine: remote, ...}`, its options beside the name"),
        ("42", "llm[0]: expected an engine's name, or a mapping with `engine` and its options, got 42"),
        ("", "llm[0]: expected an engine's name, or a mapping with `engine` and its options, got nothing"),
    ],
)
def test_an_item_of_a_list_that_is_no_engine_is_told_how_to_be_one(
    settings: Settings, item: str, sentence: str
) -> None:
    settings.did(f"did: 1\nllm:\n- {item}\n")
    [line] = settings.problems()
    assert line.startswith(f"dids/a.yaml:3: {sentence}")


def test_an_engine_that_does_not_exist_is_found_in_the_defaults_though_every_number_has_another(
    settings: Settings,
) -> None:
    settings.agent("defaults:\n  llm: {engine: remot, url: x}\n")
    settings.did("did: 1\nllm: rules\n")
    settings.did("default: true\nllm: rules\n", "default.yaml")
    [line] = settings.problems()
    assert (
        line == "agent.yaml:2: defaults.llm.engine: expected one of rules, remote, got 'remot'; did you mean 'remote'?"
    )


def test_defaults_may_hold_options_for_the_engine_that_a_number_names(settings: Settings) -> None:
    settings.agent("defaults:\n  llm: {timeout: 3}\n")
    settings.did("did: 1\nllm: {engine: remote, url: x}\n")
    settings.did("default: true\nllm: {engine: remote, url: x}\n", "default.yaml")
    assert llm(settings) == (("remote", RemoteOptions("x", timeout=3)),)


def test_a_placeholder_that_does_not_exist_is_told_with_its_own_line(settings: Settings) -> None:
    settings.did("did: 1\nprompt: |\n  You answer the telephone.\n  {{calller}} calls.\n")
    [line] = settings.problems()
    assert line.startswith("dids/a.yaml:4: prompt: expected one of")
