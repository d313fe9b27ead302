"""Destinations and tools in a DID's YAML: what is understood, and what a mistake is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from esl_agent.config import check, load
from esl_agent.dialogue.destinations import Policy
from esl_agent.dialogue.tools import Toolbox
from esl_agent.legs.asterisk_transfer import Target, target_of
from tests.test_config_files import Settings

WHOLE = """
default: true
destinations:
  reception: {number: 1000, say: "One moment.", description: "for everything else"}
  "Night desk": {mode: warm, dial: "sofia/gateway/pstn/+4930555", timeout: 20}
transfer:
  allow: ["+4930"]
  costs: {"+49": 0.02}
  max_cost_per_hour: 5
dtmf: {terminator: "", timeout: 3}
tools:
  builtin: [transfer, hang_up]
  http:
    order_status:
      description: Where an order is.
      url: "https://crm.example.com/orders/{number}"
      parameters:
        number: {type: string, pattern: "[0-9]{1,8}", description: "as on the letter"}
      headers:
        Authorization: {value_env: CRM_KEY, prefix: "Bearer "}
      say_meanwhile: One moment, I will look.
llm:
  engine: rules
  rules:
    - when: [speak to a person]
      say: Of course.
      tool: transfer
      arguments: {to: reception}
      after_tool: {failed: Nobody is there.}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    settings = Settings(tmp_path)
    settings.did(text)
    return check(tmp_path, environment={})


def test_destinations_and_tools_are_understood(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.did(WHOLE, "default.yaml")
    [did] = load(tmp_path, environment={}).dids
    policy = Policy(did.cascade.destinations, did.cascade.transfer)
    toolbox = Toolbox(did.cascade.tools, policy, (did.language,))
    assert [spec.name for spec in toolbox.specs] == ["transfer", "hang_up", "order_status"]
    assert getattr(policy.resolve("reception"), "target", None) == "1000 XML default"
    assert getattr(policy.resolve("night desk"), "cost_per_minute", None) == 0.02
    assert did.cascade.dtmf.terminator == ""


@pytest.mark.parametrize("dial", ["PJSIP/1002", "PJSIP/4930123@trunk", "PJSIP/+4930123@trunk", "DAHDI/1"])
def test_a_warm_transfer_may_call_what_asterisk_dials(tmp_path: Path, dial: str) -> None:
    Settings(tmp_path).did(WHOLE.replace("sofia/gateway/pstn/+4930555", dial), "default.yaml")
    assert check(tmp_path, environment={"CRM_KEY": "k"}) == []
    [did] = load(tmp_path, environment={}).dids
    target = getattr(Policy(did.cascade.destinations, did.cascade.transfer).resolve("night desk"), "target", "")
    assert target_of(target) == Target(dial, 20.0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("number: 1000,", "", "destinations.reception: a blind transfer needs number"),
        ("say: \"One moment.\"", "sy: x", "destinations.reception.sy: unknown setting; did you mean 'say'?"),
        ('"Night desk":', "Reception:", "are one name"),
        ('["+4930"]', '["+49x"]', "'+49x'"),
        ("mode: warm, dial", "mode: wram, dial", "did you mean 'warm'?"),
        ("dial: \"sofia", "dial: \"${x}sofia", "destinations.'Night desk': dial: expected a dial string without '$'"),
        ("crm.example.com/", "{number}.example.com/", "tools.http.order_status: url: the host is written out"),
        ("type: string", "type: text", "tools.http.order_status.parameters.number.type"),
        ("order_status:", "transfer:", "is a built-in tool"),
        ("value_env: CRM_KEY", "value_evn: CRM_KEY", "headers.Authorization.value_evn: unknown setting; did you mean"),
        ("[transfer, hang_up]", "[hang_up]", "a rule calls the tool 'transfer', which this DID does not offer"),
        ("[transfer, hang_up]", "[transfers]", "did you mean 'transfer'?"),
        ("tool: transfer", "tool: tranfer", "did you mean 'transfer'?"),
        ("after_tool: {failed", "after_tool: {faled", "did you mean 'failed'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    found = problems(tmp_path, WHOLE.replace(old, new, 1))
    assert any(said in line for line in found), found
    assert all(":" in line.split(" ")[0] for line in found)


LANGUAGES = """
default: true
language: en
prompt: Be brief.
phrases: {greeting: Hello., goodbye: Goodbye.}
tools: {builtin: [set_language]}
languages:
  de:
    prompt: Sei kurz.
    phrases: {goodbye: Auf Wiederhören.}
    tts: {engine: embedded, synthesiser: espeak}
llm: {engine: rules, rules: [{when: [german], say: Gern., tool: set_language, arguments: {language: de}}]}
"""


def test_another_language_is_laid_over_the_did(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    settings.did(LANGUAGES, "default.yaml")
    [did] = load(tmp_path, environment={}).dids
    german = did.languages["de"]
    assert (german.cascade.prompt, did.cascade.prompt) == ("Sei kurz.", "Be brief.")
    assert (german.cascade.phrases.greeting, german.cascade.phrases.goodbye) == ("Hello.", "Auf Wiederhören.")
    assert german.engines.llm[0].options == did.engines.llm[0].options
    assert (german.engines.tts[0].options.synthesiser, german.context.language) == ("espeak", "de")
    assert did.settings.offered_languages == ("en", "de")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  de:", "  deutsch:", "expected a language tag"),
        ("synthesiser: espeak", "synthesizer: espeak", "languages.de.tts.synthesizer: unknown setting; did you mean"),
        ("goodbye: Auf", "godbye: Auf", "languages.de.phrases.godbye: unknown setting; did you mean 'goodbye'?"),
        ("languages:\n  de:", "x:\n  de:", "x: unknown setting"),
    ],
)
def test_a_mistake_in_another_language_is_said_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = problems(tmp_path, LANGUAGES.replace(old, new, 1))
    assert any(said in line for line in found), found


@pytest.mark.parametrize(("name", "said"), [("voicemail", []), ("voicemial", ["known are: voicemail"])])
def test_the_last_resort_is_one_of_the_destinations(tmp_path: Path, name: str, said: list[str]) -> None:
    text = f"did: 4711\ndestinations: {{voicemail: {{number: '4000'}}}}\nlast_resort: {{transfer: {name}}}\n"
    found = problems(tmp_path, text)
    assert [line[-len(end) :] for line, end in zip(found, said, strict=True)] == said
