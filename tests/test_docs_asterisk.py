"""docs/asterisk.md: its settings, files, contexts and examples are there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from esl_agent import config
from esl_agent.asterisk_door import check_secrets
from esl_agent.config.asterisk import AsteriskSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "asterisk.md").read_text(encoding="utf-8")
CONF = ROOT / "conf" / "asterisk"
CONTEXTS = set(re.findall(r"(?m)^\[([\w-]+)\]", (CONF / "extensions.conf").read_text()))
EXAMPLES = re.findall(r"(?ms)^( *)```yaml\n(.*?)^ *```", TEXT)
COMMANDS = {"core", "module", "manager", "ari", "pjsip", "dialplan"}


def setting_paths(kind: type = AsteriskSettings, above: str = "asterisk") -> set[str]:
    found = {above}
    for field in dataclasses.fields(kind):
        path, default = f"{above}.{field.name}", getattr(kind(), field.name)
        found |= setting_paths(type(default), path) if dataclasses.is_dataclass(default) else {path}
    return found


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"`(asterisk\.[a-z_.]+?)`", TEXT)) | set(re.findall(r"`(asterisk\.[a-z_.]+): \w+`", TEXT))
    assert len(named) >= 8
    assert named <= setting_paths()


def test_every_file_that_is_named_exists() -> None:
    files = set(re.findall(r"`([\w/.-]+\.(?:conf|sh|wav))`|(conf/asterisk/[\w-]+\.\w+)", TEXT))
    files = {one or other for one, other in files}
    assert len(files) >= 10
    assert [name for name in files if not (ROOT / name).exists() and not (CONF / name).exists()] == []


def test_every_file_for_operators_is_loaded_by_asterisk_or_told_of() -> None:
    unknown = [file.name for file in CONF.iterdir() if file.name not in TEXT]
    assert unknown == [], "docs/asterisk.md names every one"


def test_every_context_that_is_named_is_in_the_dialplan() -> None:
    named = set(re.findall(r"`\[?(ai-[\w-]+|inbound|phones)\]?`", TEXT))
    assert len(named) >= 5
    assert named <= CONTEXTS
    settings = AsteriskSettings()
    assert {settings.transfer_context, settings.outbound.context} <= CONTEXTS


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_opens_the_door(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indent, lines = EXAMPLES[number]
    monkeypatch.setenv("ASTERISK_AMI_SECRET", "a-secret-of-the-tests")
    monkeypatch.setenv("ASTERISK_ARI_PASSWORD", "a-password-of-the-tests")
    (tmp_path / "agent.yaml").write_text("\n".join(line.removeprefix(indent) for line in lines.splitlines()))
    (tmp_path / "dids").mkdir()
    (tmp_path / "dids" / "default.yaml").write_text("default: true\n")
    settings = config.load(tmp_path, environment={}).service.asterisk
    assert settings.enabled
    check_secrets(settings)


def test_defaults_agree_with_the_files() -> None:
    settings = AsteriskSettings()
    dialplan = (CONF / "extensions.conf").read_text()
    assert f":{settings.audiosocket.host}:{settings.audiosocket.port})" in dialplan
    assert f":{settings.ari.app})" in dialplan
    assert f":{settings.outbound.trunk})" in dialplan
    assert f"[{settings.ami.user}]" in (CONF / "manager.conf").read_text()
    assert f"[{settings.ari.user}]" in (CONF / "ari.conf").read_text()
    assert f"[{settings.ari.websocket_client}]" in (CONF / "websocket_client.conf").read_text()
