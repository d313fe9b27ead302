"""A directory of settings becomes one Config, or every mistake in it with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from esl_agent.config import Config, check, load
from esl_agent.errors import ConfigError, Stage
from esl_agent.secret import secret
from esl_agent.setting import STRICT, setting


@dataclass(frozen=True, slots=True)
class Rule:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    say: str | tuple[str, ...] = setting("", "What the agent says, or several answers.")


@dataclass(frozen=True, slots=True)
class RulesOptions:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    rules: tuple[Rule, ...] = setting((), "The rules.")

    def expected_phrases(self) -> tuple[str, ...]:
        return tuple(str(rule.say) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    url: str = setting(doc="Where it is.")
    api_key_env: str = setting("SOME_KEY", "Its key's variable.")
    timeout: float = setting(5.0, "Seconds.", gt=0)


@dataclass(frozen=True, slots=True)
class NoOptions:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT


class Shelf:
    """Three engines that exist nowhere else."""

    def names(self, stage: Stage) -> Sequence[str]:
        return ("rules", "remote") if stage == "llm" else ("embedded",)

    def options_class(self, stage: Stage, name: str) -> type[Any]:
        return {"rules": RulesOptions, "remote": RemoteOptions, "embedded": NoOptions}[name]


class Settings:
    """A directory of settings in the making."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "dids").mkdir()
        self.agent("")
        self.did("default: true\n", "default.yaml")

    def agent(self, text: str) -> None:
        (self.directory / "agent.yaml").write_text(text, encoding="utf-8")

    def did(self, text: str, name: str = "a.yaml") -> None:
        (self.directory / "dids" / name).write_text(text, encoding="utf-8")

    def load(self, environment: Mapping[str, str] | None = None) -> Config:
        return load(self.directory, environment=environment or {}, engines=Shelf())

    def problems(self, environment: Mapping[str, str] | None = None) -> list[str]:
        found = check(self.directory, environment=environment or {}, engines=Shelf())
        return [line.replace(f"{self.directory}/", "") for line in found]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def test_an_empty_agent_file_is_a_service_with_every_default(settings: Settings) -> None:
    service = settings.load().service
    assert service.freeswitch.address == ("127.0.0.1", 8084)
    assert service.freeswitch.allow == ("127.0.0.0/8", "::1")
    assert service.audio.advertised == "127.0.0.1:8085"
    assert not service.audio.s1_listener.enabled


def test_a_did_without_engines_is_served_by_the_ones_that_need_no_key(settings: Settings) -> None:
    engines = settings.load().dids[0].engines
    assert [engines.stt[0].name, engines.llm[0].name, engines.tts[0].name] == ["embedded", "rules", "embedded"]


def test_a_did_says_how_turns_are_taken_and_what_callers_say(settings: Settings) -> None:
    settings.did(
        "did: 5000\nlanguage: de\nexpect: [Guten Tag, ja]\nphrases: {greeting: Hallo}\n"
        "llm: {engine: rules, rules: [{say: ja}, {say: nein}]}\n"
    )
    did = settings.load().find("5000")
    assert did is not None
    assert did.name == "a"
    assert did.cascade.phrases.greeting == "Hallo"
    assert did.cascade.phrases.goodbye == "Thank you for calling. Goodbye."
    assert did.context.language == "de"
    assert did.context.phrases == ("Guten Tag", "ja", "nein")
    assert did.engines.llm[0].options == RulesOptions((Rule("ja"), Rule("nein")))


def test_every_mistake_of_every_file_is_said_at_once_with_its_line(settings: Settings) -> None:
    settings.agent("freeswitch:\n  max_cals: 5\n  drain: '30'\n  events: jsn\n")
    settings.did("did: 5000\nlimits:\n  call: 1\nexpect: hello\n")
    settings.did("did: 6000\nstt: {engine: embeded}\n", "b.yaml")
    assert settings.problems() == [
        "agent.yaml:4: freeswitch.events: expected 'json' or 'plain', got 'jsn'; did you mean 'json'?",
        "agent.yaml:3: freeswitch.drain: expected a number, got '30'",
        "agent.yaml:2: freeswitch.max_cals: unknown setting; did you mean 'max_calls'?",
        "dids/a.yaml:3: limits.call: expected 5 or more, got 1",
        "dids/a.yaml:4: expect: expected a list, got 'hello'",
        "dids/b.yaml:2: stt.engine: expected one of embedded, got 'embeded'; did you mean 'embedded'?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("did: 1\nmax_calls: 3\n", "a.yaml:2: max_calls: unknown setting"),
        ('did: 1\n"a\\nb": 3\n', "a.yaml:2: 'a\\nb': unknown setting"),
        ("did: 1\nmin_speech: 3\n", "a.yaml:2: min_speech: unknown setting; did you mean 'barge_in.min_speech'?"),
        ("did: 1\nvad:\n  adapt: 1\n", "a.yaml:3: vad.adapt: expected true or false, got 1"),
        (
            "did: 1\nvad:\nname: x\n",
            "a.yaml:2: vad: expected a mapping (`key: value` lines), got nothing (leave the key out for its default)",
        ),
        ("did: 1\nname:\n", "a.yaml:2: name: expected text, got nothing (write '' for empty text"),
        ("did: 1\nname: a\nname: b\n", "a.yaml:3: name: given twice, first in line 2; keep one"),
        ("did: 1\nname: [a\nb: c\n", "a.yaml:3: not readable as YAML"),
        ("did: 1\n? [a]\n: b\n", "a.yaml:2: expected a name before the colon, got a list"),
        ("- did: 1\n", "a.yaml:1: expected settings (`key: value`), got a list of 1"),
        ("did: &a [*a]\n", "a.yaml: aliases or nesting go too far"),
        ("did: 1\nname: \x07\n", "a.yaml:2: a character YAML does not allow"),
        ('did: 1\nname: "\\ud800"\n', "a.yaml:2: half a surrogate pair is not a character"),
        ('did: 1\n"\\ud800": x\n', "a.yaml:2: expected a name before the colon, got half a surrogate pair"),
        ("did: sales\n", "a.yaml:1: did: expected a number as it is dialled, such as '5000' or '+49 30 1234'"),
        ("did: 1\nlanguage: english language\n", "a.yaml:2: language: expected a language tag (BCP 47)"),
        ("name: x\n", "a.yaml:1: expected exactly one of did, prefix and default: true, got none of them"),
        ("did: 1\ndefault: true\n", "a.yaml:2: expected exactly one of did, prefix and default: true, got did and"),
        ("did: 1\nllm: 5\n", "a.yaml:2: llm: expected a mapping (`key: value` lines) or a list, got 5"),
        ("did: 1\nllm: {rules: []}\n", "a.yaml:2: llm.engine: expected one of rules, remote, got none"),
        ("did: 1\nllm:\n  engine: remote\n", "a.yaml:2: llm.url: is required and not given"),
        (
            "did: 1\nllm:\n  engine: rules\n  rules:\n  - sya: x\n",
            "a.yaml:5: llm.rules[0].sya: unknown setting; did you mean 'say'?",
        ),
        (
            "did: 1\nllm:\n  engine: rules\n  rules:\n  - say: 5\n",
            "a.yaml:5: llm.rules[0].say: expected text or a list, got 5",
        ),
        (
            "did: 1\nllm:\n  engine: rules\n  rules:\n  - say:\n    - x\n    - 5\n",
            "a.yaml:7: llm.rules[0].say[1]: expected text, got 5",
        ),
        (
            "did: 1\nllm:\n  engine: remote\n  url: x\n  api_key: sk-1234\n",
            "a.yaml:5: llm.api_key: secrets do not belong in a settings file: name a variable in api_key_env",
        ),
    ],
)
def test_a_mistake_is_said_so_that_it_can_be_mended(settings: Settings, text: str, problem: str) -> None:
    settings.did(text)
    found = settings.problems()
    assert len(found) == 1, found
    assert found[0].startswith(f"dids/{problem}")
    assert "sk-1234" not in found[0]


@pytest.mark.parametrize("pasted", ["sk-ant-SECRETyaml", "0123abcd4567", "sk_car_x", "A B", "sk-ant-\\nx", "1234"])
def test_a_key_pasted_where_a_variable_is_named_is_refused_and_not_printed(settings: Settings, pasted: str) -> None:
    settings.did(f'did: 1\nllm:\n  engine: remote\n  url: x\n  api_key_env: "{pasted}"\n')
    [line] = settings.problems()
    assert line.startswith("dids/a.yaml:5: llm.api_key_env: expected the name of an environment variable")
    assert pasted not in line
    settings.did(f"did: 1\nllm:\n  - {{engine: remote, url: x, api_key_env: [{pasted!r}]}}\n")
    assert pasted not in "".join(settings.problems())


def test_a_header_of_a_tool_names_a_variable_and_no_key(settings: Settings) -> None:
    settings.did(
        "did: 1\ntools:\n  http:\n    look:\n      description: x\n      url: https://crm.example.com/\n"
        "      headers:\n        Authorization:\n          value_env: sk-SECRETyaml\n"
    )
    [line] = settings.problems()
    assert line.startswith("dids/a.yaml:9: tools.http.look.headers.Authorization.value_env: expected the name of an")
    assert "SECRETyaml" not in line


def test_a_file_that_is_not_text_or_far_too_large_is_refused_with_its_name(settings: Settings) -> None:
    (settings.directory / "dids/a.yaml").write_bytes(b"did: 1\nname: \xff\n")
    settings.did(f"did: 2\nprompt: {'x' * 300_000}\n", "b.yaml")
    assert settings.problems() == [
        "dids/a.yaml:2: expected UTF-8 text, got the byte 0xff",
        "dids/b.yaml: expected at most 256 KiB of settings, got a larger file",
    ]


def test_aliases_that_multiply_without_end_are_stopped(settings: Settings) -> None:
    lines = ["did: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    settings.did("\n".join(lines))
    assert settings.problems() == ["dids/a.yaml: aliases or nesting go too far: expected at most 20000 values"]


def test_an_alias_repeats_what_its_anchor_says(settings: Settings) -> None:
    settings.did("did: 1\nphrases:\n  goodbye: &bye Bye now.\n  too_long: *bye\n")
    did = settings.load().find("1")
    assert did is not None
    assert did.cascade.phrases.too_long == "Bye now."


def test_missing_files_are_named(tmp_path: Path) -> None:
    problems = check(tmp_path, environment={}, engines=Shelf())
    assert problems == [
        f"{tmp_path}/agent.yaml: is not there; an empty file is enough",
        f"{tmp_path}/dids: expected at least one file *.yaml that says who answers, got none",
    ]


def test_two_files_for_one_number_are_both_named(settings: Settings) -> None:
    settings.did("did: +49 30 1234\n")
    settings.did("did: 49-30-1234\n", "b.yaml")
    settings.did("default: true\n", "c.yaml")
    found = settings.problems()
    assert len(found) == 2
    assert found[0].startswith("dids/b.yaml: 49-30-1234 is answered by")
    assert found[0].endswith("dids/a.yaml too; keep one of the two")
    assert found[1].startswith("dids/default.yaml: the default is answered by")
    assert found[1].endswith("dids/c.yaml too; keep one of the two")


def test_norwegian_is_a_language_and_not_false(settings: Settings) -> None:
    settings.did("did: 1\nlanguage: no\n")
    did = settings.load().find("1")
    assert did is not None
    assert did.language == "no"


def test_a_number_keeps_its_leading_zeros(settings: Settings) -> None:
    settings.did("did: 0049301234\n")
    config = settings.load()
    assert config.find("0049301234") is not config.find("49301234")


def test_defaults_lie_under_every_did_and_say_their_own_mistakes(settings: Settings) -> None:
    settings.agent("defaults:\n  limits: {call: 99, llm: 3}\n  expect: [hello, goodbye]\n")
    settings.did("did: 1\nlimits: {llm: 4}\nexpect: [weasels]\n")
    did = settings.load().find("1")
    assert did is not None
    assert (did.cascade.limits.call, did.cascade.limits.llm) == (99, 4)
    assert did.context.phrases == ("weasels",)
    settings.agent("defaults:\n  did: 7\n  limits:\n    call: 1\n")
    assert settings.problems() == [
        "agent.yaml:2: defaults.did: belongs in a file of dids/, not in the defaults of all",
        "agent.yaml:4: defaults.limits.call: expected 5 or more, got 1",
    ]


def test_options_of_the_default_engine_do_not_reach_another_engine(settings: Settings) -> None:
    settings.agent("defaults:\n  llm: {engine: remote, url: 'http://a', timeout: 9}\n")
    settings.did("did: 1\nllm: {engine: rules}\n")
    settings.did("did: 2\nllm: {engine: remote, url: 'http://b'}\n", "b.yaml")
    config = settings.load()
    first, second = config.find("1"), config.find("2")
    assert first is not None
    assert first.engines.llm[0].options == RulesOptions()
    assert second is not None
    assert second.engines.llm[0].options == RemoteOptions("http://b", timeout=9)


def test_the_environment_wins_over_the_file(settings: Settings) -> None:
    settings.agent("event_socket: {host: a, port: 1}\nlog: {level: ERROR}\n")
    service = settings.load({"FREESWITCH_HOST": "b", "FREESWITCH_PORT": "8022", "LOG_LEVEL": "debug"}).service
    assert (service.event_socket.host, service.event_socket.port, service.log.level) == ("b", 8022, "DEBUG")
    assert settings.load({"FREESWITCH_HOST": ""}).service.event_socket.host == "a"


def test_a_bad_variable_is_named_as_such(settings: Settings) -> None:
    assert settings.problems({"WS_PORT": "80000", "LOG_LEVEL": "loud"}) == [
        "environment WS_PORT: audio.s1_listener.port: expected 65535 or less, got 80000",
        "environment LOG_LEVEL: log.level: expected 'DEBUG', 'INFO', 'WARNING' or 'ERROR', got 'loud'",
    ]


def test_the_older_listener_is_never_open_to_other_machines(settings: Settings) -> None:
    settings.agent("audio:\n  s1_listener:\n    enabled: true\n")
    assert settings.problems({"WS_HOST": "::1"}) == []
    [problem] = settings.problems({"WS_HOST": "0.0.0.0"})
    assert problem.startswith("environment WS_HOST: audio.s1_listener.host: expected a loopback address")
    settings.agent("")
    assert settings.problems({"WS_HOST": "0.0.0.0"}) == []


@pytest.mark.parametrize("listen", ["8084", "host", "host:0", "host:65536", "a b:1", "host:1/x", "::1:8084", ""])
def test_a_listen_address_needs_host_and_port(settings: Settings, listen: str) -> None:
    settings.agent(f"freeswitch:\n  listen: '{listen}'\n")
    [problem] = settings.problems()
    assert problem.startswith("agent.yaml:2: freeswitch.listen: expected host:port with a port from 1 to 65535")


def test_a_reload_after_a_mistake_leaves_the_config_in_use_untouched(settings: Settings) -> None:
    settings.did("did: 1\nname: before\n")
    config = settings.load()
    settings.did("did: 1\nname: after\nnmae: x\n")
    with pytest.raises(ConfigError):
        settings.load()
    did = config.find("1")
    assert did is not None
    assert did.name == "before"
    settings.did("did: 1\nname: after\n")
    again = settings.load().find("1")
    assert again is not None
    assert again.name == "after"


def test_a_secret_comes_from_its_variable_and_else_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\n")
    assert secret("PW", str(file), {"PW": "from variable"}) == "from variable"
    assert secret("PW", str(file), {}) == "from file"
    assert secret("PW", "", {}) is None
    with pytest.raises(ConfigError, match="the secret in it cannot be read"):
        secret("PW", str(tmp_path / "missing"), {})
