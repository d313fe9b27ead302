"""Names that older programs gave their settings keep working: environment first, then their constants, then YAML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from esl_agent import cli
from esl_agent.advice import advice
from esl_agent.config import Config, check, load
from esl_agent.config.constants import MAX_BYTES
from esl_agent.config.environment import variables
from esl_agent.config.older_names import NOT_USED_YET, OF_ASTERISK, OF_ASTERISK_DOOR, OF_PYTHON, USED
from esl_agent.config.validate import settings_of
from esl_agent.errors import ConfigError, Stage
from esl_agent.lineup import make_lineup
from esl_agent.providers import registry
from esl_agent.secret import beside, required, secret

#: Every name that the older programs' documents give, with the value given there or one like it.
DOCUMENTED = {
    "LLAMA3_API_URL": "http://localhost:8001/llama3",
    "LLAMA3_TIMEOUT": "30",
    "MAX_CONVERSATION_HISTORY": "10",
    "LOG_LEVEL": "DEBUG",
    "FREESWITCH_HOST": "10.0.0.7",
    "FREESWITCH_PORT": "8022",
    "FREESWITCH_PASSWORD": "ClueCon",
    "LLM_API_URL": "http://localhost:11434/api/chat",
    "ELEVENLABS_API_KEY": "fake-key-0123456789",
    "ELEVENLABS_AGENT_ID": "agent_1",
    "AUDIO_CHUNK_SIZE_MS": "20",
    "EXOLVE_SIP_USER": "883140",
    "EXOLVE_SIP_PASS": "fake-key-0123456789",
    "EXOLVE_SIP_DOMAIN": "sip.example.net",
    "GPU_SERVER_URL": "https://gpu.example.net/transcribe",
    "CHATBOT_API_URL": "https://bot.example.net/api/chat",
    "CHATBOT_WS_URL": "wss://bot.example.net/ws/chat",
    "WS_HOST": "0.0.0.0",
    "WS_PORT": "8766",
    "OPENAI_API_KEY": "fake-key-0123456789",
    "API_KEY": "fake-key-0123456789",
    "VOICE_ID": "voice-1",
    "OPENAI_WS_URL": "wss://realtime.example.net/v1/realtime",
    "SILENCE_DURATION": "1.5",
    "MIN_VOLUME_THRESHOLD": "600",
    "VAD_AGGRESSIVENESS": "3",
    "AUDIOSOCKET_HOST": "0.0.0.0",
    "AUDIOSOCKET_PORT": "9093",
    "AUDIOSOCKET_ADDR": "10.0.0.8:9092",
    "VOICEAI_APP": "app",
    "VOICEAI_CALLERID": "100",
    "SIP_TRUNK": "provider",
    "PYTHONIOENCODING": "utf-8",
}

#: What a name sets in ``agent.yaml`` or in every DID.
SETS: dict[str, tuple[str, Any]] = {
    "LOG_LEVEL": ("service.log.level", "DEBUG"),
    "FREESWITCH_HOST": ("service.event_socket.host", "10.0.0.7"),
    "FREESWITCH_PORT": ("service.event_socket.port", 8022),
    "WS_HOST": ("service.audio.s1_listener.host", "0.0.0.0"),
    "WS_PORT": ("service.audio.s1_listener.port", 8766),
    "AUDIOSOCKET_HOST": ("service.asterisk.audiosocket.host", "0.0.0.0"),
    "AUDIOSOCKET_PORT": ("service.asterisk.audiosocket.port", 9093),
    "VOICEAI_APP": ("service.asterisk.ari.app", "app"),
    "VOICEAI_CALLERID": ("service.asterisk.outbound.caller_id", "100"),
    "SIP_TRUNK": ("service.asterisk.outbound.trunk", "provider"),
    "MAX_CONVERSATION_HISTORY": ("did.cascade.limits.history", 10),
    "SILENCE_DURATION": ("did.cascade.endpointing.silence", 1.5),
    "MIN_VOLUME_THRESHOLD": ("did.cascade.vad.min_volume", 600),
    "VAD_AGGRESSIVENESS": ("did.cascade.vad.aggressiveness", 3),
}


@dataclass(frozen=True)
class Engine:
    """An engine whose options a name is one of; ``secret``: it is the key instead."""

    stage: Stage
    name: str
    secret: bool = False


#: What a name sets of an engine.
OF_ENGINES: dict[str, tuple[Engine, ...]] = {
    "GPU_SERVER_URL": (Engine("stt", "transcribe"), Engine("stt", "transcribe_streaming")),
    "CHATBOT_WS_URL": (Engine("llm", "chatbot"),),
    "CHATBOT_API_URL": (Engine("llm", "chatbot"),),
    "LLAMA3_API_URL": (Engine("llm", "llama3_api"),),
    "LLAMA3_TIMEOUT": (Engine("llm", "llama3_api"),),
    "LLM_API_URL": (Engine("llm", "ollama"),),
    "MAX_CONVERSATION_HISTORY": (Engine("llm", "llama3_api"),),
    "VOICE_ID": (Engine("tts", "elevenlabs"), Engine("tts", "elevenlabs_ws")),
    "ELEVENLABS_API_KEY": (Engine("tts", "elevenlabs", True), Engine("tts", "elevenlabs_ws", True)),
    "API_KEY": (Engine("tts", "elevenlabs", True), Engine("tts", "elevenlabs_ws", True)),
    "OPENAI_API_KEY": (
        Engine("stt", "openai", True),
        Engine("llm", "openai", True),
        Engine("tts", "openai", True),
        Engine("agent", "openai_realtime", True),
    ),
    "OPENAI_WS_URL": (Engine("agent", "openai_realtime"),),
}
ENGINE_CASES = [pytest.param(name, each, id=f"{name}-{each.name}") for name, all in OF_ENGINES.items() for each in all]


class Directory:
    """Settings of one DID in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "dids").mkdir()
        self.write("agent.yaml", "")
        self.write("dids/a.yaml", "default: true\nllm: {engine: rules, rules: [{when: [hello], say: hello}]}\n")

    def write(self, name: str, text: str) -> Directory:
        (self.path / name).write_text(text, encoding="utf-8")
        return self

    def load(self, **environment: str) -> Config:
        return load(self.path, environment=environment)

    def problems(self, **environment: str) -> list[str]:
        return check(self.path, environment=environment)


@pytest.fixture
def conf(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def found(config: Config, path: str) -> Any:
    value: Any = {"service": config.service, "did": config.dids[0]}
    first, *rest = path.split(".")
    value = value[first]
    for name in rest:
        value = getattr(value, name)
    return value


def test_every_documented_name_is_in_one_of_our_tables_and_no_other() -> None:
    assert set(DOCUMENTED) == {*USED, *NOT_USED_YET, *OF_PYTHON, *OF_ASTERISK}
    assert len(DOCUMENTED) == len(USED) + len(NOT_USED_YET) + len(OF_PYTHON) + len(OF_ASTERISK)
    assert set(USED) == {*SETS, *OF_ENGINES, "FREESWITCH_PASSWORD"}


@pytest.mark.parametrize("name", SETS)
def test_a_name_sets_in_the_environment_what_it_always_set(conf: Directory, name: str) -> None:
    path, value = SETS[name]
    assert found(conf.load(), path) != value
    assert found(conf.load(**{name: DOCUMENTED[name]}), path) == value


@pytest.mark.parametrize("name", SETS)
def test_a_constant_of_an_older_config_py_sets_the_same(conf: Directory, name: str) -> None:
    path, value = SETS[name]
    text = DOCUMENTED[name]
    conf.write(
        "config.py", f"{name} = {text if text.replace('.', '').isdigit() and text.count('.') < 2 else repr(text)}\n"
    )
    assert found(conf.write("agent.yaml", "legacy_config: config.py\n").load(), path) == value


@pytest.mark.parametrize(("name", "engine"), ENGINE_CASES)
def test_a_name_of_an_engine_reaches_its_options(
    conf: Directory, name: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = registry.options_class(engine.stage, engine.name)
    assert engine.secret or name in {variable for variable, _, _ in variables(options)}
    for other in DOCUMENTED:
        monkeypatch.delenv(other, raising=False)
    named = "".join(f", {key}: x" for key, _, _ in settings_of(options) if key in ("model", "voice"))
    chosen = f"{engine.name}{'' if name == 'VOICE_ID' else named}"
    conf.write("dids/a.yaml", f"default: true\n{engine.stage}: {{engine: {chosen}}}\n")
    needed = {"ELEVENLABS_API_KEY", "VOICE_ID", "CHATBOT_WS_URL", "CHATBOT_API_URL", "LLAMA3_API_URL", "GPU_SERVER_URL"}
    given = {each: DOCUMENTED[each] for each in needed} | {name: DOCUMENTED[name]}
    if name == "API_KEY":
        del given["ELEVENLABS_API_KEY"]
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    config = load(conf.path)
    if engine.secret:
        assert make_lineup(config).engines
        monkeypatch.delenv(name)
        monkeypatch.delenv("ELEVENLABS_API_KEY", raising=False)
        with pytest.raises(ConfigError):
            make_lineup(load(conf.path))
    else:
        [spec] = getattr(config.dids[0].engines, engine.stage)
        made = spec.options
        path = next(path for variable, path, _ in variables(options) if variable == name)
        value = made
        for key in path:
            value = getattr(value, str(key))
        assert str(value).removesuffix(".0") == DOCUMENTED[name]


@pytest.mark.parametrize("name", sorted(NOT_USED_YET))
def test_a_name_without_a_part_that_would_need_it_is_said_to_have_no_effect(conf: Directory, name: str) -> None:
    before, after = conf.load(), conf.load(**{name: DOCUMENTED[name]})
    assert (after.service, after.dids) == (before.service, before.dids)
    [line] = after.remarks
    assert name in line
    assert "no effect yet" in line
    assert NOT_USED_YET[name] in line
    assert DOCUMENTED[name] not in line


@pytest.mark.parametrize("name", ["LLAMA3_API_URL", "GPU_SERVER_URL", "CHATBOT_WS_URL", "LLM_API_URL", "VOICE_ID"])
def test_a_name_of_an_engine_that_no_number_uses_is_said_to_have_no_effect(conf: Directory, name: str) -> None:
    [line] = conf.load(**{name: DOCUMENTED[name]}).remarks
    assert line.startswith(f"no effect: {name} (environment): no DID uses the ")
    assert all(engine.name in line for engine in OF_ENGINES[name])
    assert DOCUMENTED[name] not in line


def test_a_name_of_an_engine_that_a_number_uses_is_not_remarked_on(conf: Directory) -> None:
    conf.write("dids/a.yaml", "default: true\nlanguages: {de: {llm: [rules, {engine: ollama, model: x}]}}\n")
    assert conf.load(LLM_API_URL="http://localhost:1", LLAMA3_TIMEOUT="").remarks == ()


@pytest.mark.parametrize("name", OF_ASTERISK_DOOR)
def test_a_name_of_the_door_for_asterisk_is_remarked_on_while_that_is_shut(conf: Directory, name: str) -> None:
    [line] = conf.load(**{name: DOCUMENTED[name]}).remarks
    assert line == f"no effect, because asterisk.enabled is off in agent.yaml: {name} (environment)"
    conf.write("agent.yaml", "asterisk: {enabled: true}\n")
    assert conf.load(**{name: DOCUMENTED[name]}).remarks == ()


def test_a_variable_of_asterisks_dialplan_is_left_to_asterisk(conf: Directory) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", 'AUDIOSOCKET_ADDR = "10.0.0.8:9092"\n')
    before, after = conf.load(), conf.load(AUDIOSOCKET_ADDR="10.0.0.8:9092")
    assert (after.service, after.remarks) == (before.service, ())


def test_the_rate_of_mod_vosk_is_said_to_be_needless(conf: Directory) -> None:
    [line] = conf.load(VOSK_SAMPLE_RATE="16000").remarks
    assert line.startswith("no effect: VOSK_SAMPLE_RATE (environment): ")


def test_a_fixed_silence_is_said_to_be_only_a_beginning(conf: Directory) -> None:
    [line] = conf.load(SILENCE_DURATION="1.5").remarks
    assert "endpointing.adapt" in line


def test_environment_comes_before_constants_and_constants_before_yaml(conf: Directory) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\ndefaults: {limits: {history: 30}}\nlog: {level: ERROR}\n")
    conf.write("config.py", "MAX_CONVERSATION_HISTORY = 20\nLOG_LEVEL = 'WARNING'\n")
    assert found(conf.load(), "did.cascade.limits.history") == 20
    assert found(conf.load(MAX_CONVERSATION_HISTORY=""), "did.cascade.limits.history") == 20
    assert found(conf.load(MAX_CONVERSATION_HISTORY="10"), "did.cascade.limits.history") == 10
    assert found(conf.load(), "service.log.level") == "WARNING"
    conf.write("dids/a.yaml", "default: true\nlimits: {history: 40}\n")
    assert found(conf.load(), "did.cascade.limits.history") == 20


def test_a_name_holds_for_the_other_languages_of_a_number_too(conf: Directory) -> None:
    conf.write("dids/a.yaml", "default: true\nlanguages: {de: {prompt: Deutsch}}\n")
    did = conf.load(MAX_CONVERSATION_HISTORY="12").dids[0]
    assert did.languages["de"].cascade.limits.history == 12


def test_a_value_that_cannot_be_is_told_with_the_variable_it_came_from(conf: Directory) -> None:
    [line] = conf.problems(MAX_CONVERSATION_HISTORY="1")
    assert line == "environment MAX_CONVERSATION_HISTORY: limits.history: expected 2 or more, got 1"
    [line] = conf.problems(VAD_AGGRESSIVENESS="very")
    assert line.startswith("environment VAD_AGGRESSIVENESS: vad.aggressiveness: expected a whole number")
    for odd in ("inf", "nan", "1e999"):
        [line] = conf.problems(SILENCE_DURATION=odd)
        assert "expected a number" in line


def test_a_constant_that_cannot_be_is_told_with_its_file_and_line(conf: Directory) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", "# settings\nVAD_AGGRESSIVENESS = 7\n")
    [line] = conf.problems()
    assert line == f"{conf.path / 'config.py'}:2: vad.aggressiveness: expected 3 or less, got 7"


def test_an_older_config_py_is_read_and_never_run(conf: Directory) -> None:
    trap = conf.path / "ran"
    conf.write("agent.yaml", "legacy_config: config.py\n").write(
        "config.py",
        f"import os\nopen({str(trap)!r}, 'w')\nDEBUG = os.getenv('X')\nclass A:\n    WS_PORT = 1\n"
        "if True:\n    WS_PORT = 2\nWS_PORT: int = 8799\nOTHER = [1, 2]\n",
    )
    assert found(conf.load(), "service.audio.s1_listener.port") == 8799
    assert not trap.exists()


@pytest.mark.parametrize(
    "value",
    [
        "os.getenv(NAME)",
        "os.getenv('X', [1])",
        "my.getenv('X')",
        "read('X')",
        "8000 + 1",
        "f'{1}'",
        "[8765]",
        "None",
        "True",
        "-'x'",
        "1j",
    ],
)
def test_a_known_name_that_is_no_plain_constant_is_a_problem_and_not_overlooked(conf: Directory, value: str) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", f"\nWS_PORT = {value}\n")
    [line] = conf.problems()
    assert line.startswith(f"{conf.path / 'config.py'}:2: WS_PORT: expected plain text, a number or os.getenv(")
    assert "YAML" not in line
    assert found(conf.load(WS_PORT="8799"), "service.audio.s1_listener.port") == 8799


@pytest.mark.parametrize(
    ("value", "given", "port"),
    [
        ("os.getenv('WS_PORT', '8801')", {}, 8801),
        ("os.getenv('WS_PORT', 8801)", {"WS_PORT": "8802"}, 8802),
        ("int(os.getenv('OLD_PORT', '8801'))", {"OLD_PORT": "8803"}, 8803),
        ("int(os.environ.get('OLD_PORT') or 8801)", {"OLD_PORT": ""}, 8801),
        ("os.environ['OLD_PORT']", {"OLD_PORT": "8804"}, 8804),
        ("os.environ['OLD_PORT']", {}, 8765),
        ("getenv('OLD_PORT', None)", {}, 8765),
        ("os.getenv('OLD_PORT')", {}, 8765),
    ],
)
def test_a_constant_that_reads_the_environment_is_read_from_there(
    conf: Directory, value: str, given: dict[str, str], port: int
) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", f"import os\nWS_PORT = {value}\n")
    assert found(conf.load(**given), "service.audio.s1_listener.port") == port


def test_a_key_that_is_computed_is_no_obstacle_where_its_newer_name_is_set(conf: Directory) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", "API_KEY = load_key()\n")
    assert conf.load(ELEVENLABS_API_KEY="x").constants == {}
    assert conf.load(API_KEY="x").constants == {}
    [line] = conf.problems()
    assert "config.py:1: API_KEY: expected plain text" in line


def test_an_older_config_py_that_is_not_there_is_told_with_the_line_that_names_it(conf: Directory) -> None:
    conf.write("agent.yaml", "log: {level: INFO}\nlegacy_config: gone.py\n")
    [line] = conf.problems()
    assert line.startswith(f"{conf.path / 'agent.yaml'}:2: legacy_config: {conf.path / 'gone.py'}: cannot be read: No")


def test_a_directory_without_agent_yaml_is_told_that_an_empty_one_is_enough(conf: Directory) -> None:
    (conf.path / "agent.yaml").unlink()
    assert conf.problems() == [f"{conf.path / 'agent.yaml'}: is not there; an empty file is enough"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"x = (\n", "not readable as Python"),
        (b"x = '\0'\n", "not readable as Python"),
        (b"\xff\xfe\n", "not readable as Python"),
        (b"(" * 5000, "not readable as Python"),
        (b"-" * 60000 + b"1", "not readable as Python"),
        (b"#" * (MAX_BYTES + 1), "64 KiB"),
        (None, "cannot be read"),
    ],
)
def test_an_older_config_py_that_is_none_is_a_problem_with_its_name(
    conf: Directory, source: bytes | None, said: str
) -> None:
    conf.write("agent.yaml", "legacy_config: config.py\n")
    if source is not None:
        (conf.path / "config.py").write_bytes(source)
    [line] = conf.problems()
    assert str(conf.path / "config.py") in line
    assert said in line


def test_a_key_of_an_older_config_py_is_found_and_shown_nowhere(
    conf: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    conf.write("agent.yaml", "legacy_config: config.py\n").write("config.py", "API_KEY = 'a-key-of-long-ago'\n")
    config = conf.load()
    with beside(config.constants):
        assert required("tts", "ELEVENLABS_API_KEY", "", "API_KEY") == "a-key-of-long-ago"
        monkeypatch.setenv("API_KEY", "a-key-of-today")
        assert secret("API_KEY", "") == "a-key-of-today"
        monkeypatch.setenv("API_KEY", "")
        assert secret("API_KEY", "") == "a-key-of-long-ago"
    assert secret("API_KEY", "") is None
    assert "long-ago" not in repr(config)


def checked(conf: Directory, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> int:
    for name in DOCUMENTED:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return cli.main(["check", str(conf.path)])


def test_a_warning_is_printed_by_check_and_changes_nothing_else(
    conf: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(conf, monkeypatch, {}) == 0
    assert capsys.readouterr().out.endswith("1 DID, no problems\n")
    assert checked(conf, monkeypatch, {"EXOLVE_SIP_USER": "1", "AUDIO_CHUNK_SIZE_MS": "20"}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("warning: no effect yet, because this version has no baresip: AUDIO_CHUNK_SIZE_MS (env")
    assert lines[-1].endswith("1 DID, no problems, 1 warning")


def test_a_warning_is_logged_once_by_serve(
    conf: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in DOCUMENTED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ELEVENLABS_AGENT_ID", "agent_1")
    monkeypatch.setattr("esl_agent.server.Server", lambda directory, config, **_: SimpleNamespace(run=lambda: None))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert cli.main(["serve", "--conf", str(conf.path)]) == 0
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "ELEVENLABS_AGENT_ID" in line]
    assert " WARNING no effect yet, because this version has no agents of ElevenLabs: ELEVENLABS_AGENT_ID (env" in line


@dataclass(frozen=True, slots=True)
class OpenAiOptions:
    model: str = "gpt-4o-mini"
    url: str = "https://api.openai.com/v1"


class WithOpenAi:
    """The engines there are, and a model whose end is announced."""

    def names(self, stage: Stage) -> tuple[str, ...]:
        return (*registry.names(stage), "vendor")

    def options_class(self, stage: Stage, name: str) -> type[Any]:
        return OpenAiOptions if name == "vendor" else registry.options_class(stage, name)


def test_a_model_whose_end_is_announced_is_a_warning_for_each_number_that_uses_it(conf: Directory) -> None:
    conf.write(
        "dids/a.yaml",
        "default: true\nllm: {engine: vendor}\n"
        "languages: {de: {prompt: Deutsch}, fr: {llm: {engine: vendor, model: gpt-4o}}}\n",
    )
    config = load(conf.path, environment={}, engines=WithOpenAi())
    first, second = (line for line in advice(config, date(2026, 11, 21)) if "will serve" in line)
    assert first.startswith(f"{conf.path / 'dids' / 'a.yaml'}:2: llm: engine vendor: api.openai.com will serve")
    assert "a.yaml:3: languages.fr.llm: engine vendor" in second
    assert sum("NO MORE" in line for line in advice(config, date(2027, 1, 14))) == 2
