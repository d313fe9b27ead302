"""The files made from the settings' code: JSON Schema for editors, and the reference page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from esl_agent.config import check, load
from esl_agent.config.did import STAGES, DidSettings
from esl_agent.config.environment import variables
from esl_agent.config.reference import reference
from esl_agent.config.schema import schemas
from esl_agent.config.service import ServiceSettings
from esl_agent.config.validate import settings_of
from esl_agent.providers import registry
from tests.test_config_files import Settings, Shelf

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
AGAIN = "; make it again: python -m esl_agent.config"


def accepts(name: str, text: str) -> bool:
    schema = json.loads(schemas(Shelf())[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


def test_the_committed_schemas_are_the_ones_the_code_makes() -> None:
    for name, text in schemas(registry).items():
        assert (CONF / "schema" / name).read_text(encoding="utf-8") == text, f"{name} is stale{AGAIN} schema"


def test_the_committed_reference_page_is_the_one_the_code_makes() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert page == reference(registry), f"docs/settings.md is stale{AGAIN} docs"


def test_the_command_writes_both(tmp_path: Path) -> None:
    for arguments in (["schema", str(tmp_path)], ["docs", str(tmp_path / "docs/settings.md")]):
        subprocess.run([sys.executable, "-m", "esl_agent.config", *arguments], cwd=ROOT, check=True)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"agent.json", "did.json", "settings.md"}


def test_the_settings_that_ship_can_be_used() -> None:
    assert check(CONF, environment={}) == []


@pytest.mark.parametrize("path", sorted((CONF / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_can_be_used_as_it_is_copied(tmp_path: Path, path: Path) -> None:
    settings = Settings(tmp_path)
    settings.did(path.read_text(encoding="utf-8"))
    assert check(tmp_path, environment={}) == []


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_that_ships_names_its_schema_and_keeps_to_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    marker = text.splitlines()[0]
    assert marker.startswith("# yaml-language-server: $schema=")
    file = (path.parent / marker.partition("=")[2]).resolve()
    assert file == CONF / "schema" / ("agent.json" if path.name == "agent.yaml" else "did.json")
    jsonschema.validate(yaml.safe_load(text), json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "did: 5000\n",
        "did: '+49 30 1'\nllm: {engine: rules, rules: [{say: x}]}\n",
        "prefix: 49\nllm: {engine: remote, url: x, timeout: 3}\nmedia: {rate: 16000}\n",
        "default: true\nlimits: {call: 30}\nexpect: [hello]\n",
        "{}\n",
        "did: 1\nprefix: 2\n",
        "did: 1\nllm: {engine: rules, url: x}\n",
        "did: 1\nllm: {engine: other}\n",
        "did: 1\nllm: {rules: []}\n",
        "did: 1\nstt: {engine: embedded, x: 1}\n",
        "did: 1\nmedia: {rate: 44100}\n",
        "did: 1\nlimits: {call: 1}\n",
        "did: 1\nnope: 1\n",
        "did: 1\nvad: {adapt: 'yes'}\n",
    ],
)
def test_an_editor_and_the_service_agree_on_a_did(tmp_path: Path, text: str) -> None:
    settings = Settings(tmp_path)
    (tmp_path / "dids/default.yaml").unlink()
    settings.did(text)
    assert accepts("did.json", text) == (settings.problems() == [])


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        "freeswitch: {max_calls: 2}\ndefaults: {limits: {call: 7}, llm: {engine: rules}}\n",
        "freeswitch: {max_calls: 0}\n",
        "freeswitch: {events: xml}\n",
        "defaults: {did: 1}\n",
        "defaults: {limits: {cal: 7}}\n",
        "audio: {s1_listener: {port: 0}}\n",
        "listen: x\n",
    ],
)
def test_an_editor_and_the_service_agree_on_the_service(tmp_path: Path, text: str) -> None:
    settings = Settings(tmp_path)
    settings.agent(text)
    assert accepts("agent.json", text) == (settings.problems() == [])


def test_every_setting_is_explained() -> None:
    def unexplained(cls: type[Any], above: str) -> list[str]:
        found = []
        for name, kind, item in settings_of(cls):
            if not item.metadata.get("description"):
                found.append(f"{above}{name}")
            found += unexplained(kind, f"{above}{name}.")
        return found

    classes = {"": ServiceSettings, "did: ": DidSettings}
    for stage in STAGES:
        classes |= {f"{stage} {name}: ": registry.options_class(stage, name) for name in registry.names(stage)}
    assert [line for above, cls in classes.items() for line in unexplained(cls, above)] == []


def test_the_reference_page_has_every_setting_engine_and_variable() -> None:
    page = reference(Shelf())
    for name in ("max_calls", "s1_listener", "pre_roll", "still_there", "api_key_env", "SOME_KEY", "remote"):
        assert name in page
    for variable, _, _ in variables(ServiceSettings):
        assert f"`{variable}`" in page


def test_every_engine_refuses_an_option_it_does_not_have(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    for stage in STAGES:
        for name in registry.names(stage):
            settings.did(f"did: 1\n{stage}:\n  engine: {name}\n  no_such_option: 1\n")
            found = check(tmp_path, environment={})
            assert any(f"{stage}.no_such_option: unknown setting" in line for line in found), (stage, name, found)


def test_the_demo_number_is_answered_without_any_key() -> None:
    did = load(CONF, environment={}).find("5000")
    assert did is not None
    stt, llm, tts = did.engines.stt[0], did.engines.llm[0], did.engines.tts[0]
    assert (stt.name, llm.name, tts.name) == ("embedded", "rules", "embedded")
    assert 20 <= len(did.context.phrases) <= 40


def test_an_editor_sees_a_key_that_was_pasted_where_a_variable_is_named() -> None:
    assert accepts("did.json", "did: 1\nllm: {engine: remote, api_key_env: MY_KEY}\n")
    assert accepts("did.json", "did: 1\nllm: {engine: remote, api_key_env: ''}\n")
    assert not accepts("did.json", "did: 1\nllm: {engine: remote, api_key_env: sk-ant-1}\n")
    assert not accepts("agent.json", "event_socket: {password_env: ClueCon}\n")
