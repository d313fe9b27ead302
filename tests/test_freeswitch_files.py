"""The files for FreeSWITCH agree with conf/ and use only what FreeSWITCH has."""

from __future__ import annotations

import re
import wave
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from esl_agent.config import address
from esl_agent.dialogue.settings import LimitSettings

ROOT = Path(__file__).parent.parent
XML_FILES = sorted((ROOT / "freeswitch").rglob("*.xml"))
DIALPLAN = ROOT / "freeswitch/dialplan/esl_agent.xml"
AUTOLOAD = ROOT / "freeswitch/autoload_configs"

#: Applications of mod_dptools and mod_event_socket that the dialplan may use.
APPLICATIONS = {"answer", "bridge", "hangup", "playback", "sched_cancel", "sched_transfer", "set", "sleep", "socket"}
APPLICATIONS |= {"transfer"}
#: Channel variables it may set; FreeSWITCH takes a misspelt one without a word.
VARIABLES = {
    "app_disable_expand_variables",
    "call_timeout",
    "continue_on_fail",
    "execute_on_answer",
    "hangup_after_bridge",
    "park_timeout",
    "playback_terminators",
}


def actions(extension: str) -> list[tuple[str, str]]:
    """(application, data) of one extension, in order."""
    found = ET.parse(DIALPLAN).getroot().findall(f"./extension[@name='{extension}']//action")
    return [(action.attrib["application"], action.attrib.get("data", "")) for action in found]


def variables(extension: str) -> dict[str, str]:
    return dict(data.split("=", 1) for application, data in actions(extension) if application == "set")


def parameters(name: str) -> dict[str, str]:
    root = ET.parse(AUTOLOAD / name).getroot()
    return {item.attrib["name"]: item.attrib["value"] for item in root.iter("param")}


def settings(path: str) -> dict:
    return yaml.safe_load((ROOT / "conf" / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", XML_FILES, ids=lambda path: path.name)
def test_every_file_is_well_formed(path: Path) -> None:
    assert ET.parse(path).getroot().tag in ("include", "configuration")


def test_the_dialplan_connects_to_where_the_agent_listens() -> None:
    [data] = [data for application, data in actions("esl_agent") if application == "socket"]
    hosts, *flags = data.split(" ")
    assert set(flags) == {"async", "full"}
    assert address(settings("agent.yaml")["freeswitch"]["listen"]) in [address(host) for host in hosts.split("|")]


def test_every_agent_in_the_dialplan_has_its_own_port_and_no_path() -> None:
    examples = re.findall(r'data="(\S+) async full"', DIALPLAN.read_text(encoding="utf-8"))
    assert len(examples) == 2
    for host in "|".join(examples).split("|"):
        address(host)


def test_the_dialplan_uses_only_applications_and_variables_that_exist() -> None:
    used = actions("esl_agent") + actions("esl_agent_unavailable")
    assert {application for application, _ in used} <= APPLICATIONS
    assert variables("esl_agent").keys() | variables("esl_agent_unavailable").keys() <= VARIABLES


def test_no_action_of_the_agent_extension_needs_a_variable_after_expansion_is_off() -> None:
    off = actions("esl_agent").index(("set", "app_disable_expand_variables=true"))
    assert not [data for _, data in actions("esl_agent")[off:] if re.search(r"(?<!\$)\$\{|\$\d", data)]
    assert actions("esl_agent_unavailable")[0] == ("set", "app_disable_expand_variables=false")


def test_a_key_never_stops_the_agents_voice() -> None:
    assert variables("esl_agent")["playback_terminators"] == "none"


def test_the_longest_call_of_the_dialplan_outlasts_every_did() -> None:
    seconds = int(variables("esl_agent")["park_timeout"].partition(":")[0])
    files = [settings("agent.yaml").get("defaults", {})]
    files += [settings(f"dids/{path.name}") for path in (ROOT / "conf/dids").glob("*.yaml")]
    for did in files:
        limits = did.get("limits", {})
        call = limits.get("call", LimitSettings().call) + limits.get("goodbye", LimitSettings().goodbye)
        assert seconds > call + limits.get("answer", LimitSettings().answer)


def test_a_caller_whom_no_agent_answers_hears_an_apology() -> None:
    order = [application for application, _ in actions("esl_agent")]
    assert actions("esl_agent")[order.index("socket") + 1 :] == [("transfer", "esl_agent_unavailable")]
    fallback = [application for application, _ in actions("esl_agent_unavailable")]
    assert fallback.index("answer") < fallback.index("playback")
    assert fallback[-1] == "hangup"


def test_an_agent_that_accepts_and_says_nothing_is_given_up_only_after_its_own_deadlines() -> None:
    [guard] = [data for application, data in actions("esl_agent") if application == "sched_transfer"]
    seconds, target = guard.split(" ")
    assert target == "esl_agent_unavailable"
    freeswitch_waits_for_connect = 25
    assert int(seconds) > max(freeswitch_waits_for_connect, 2 * LimitSettings().answer)
    assert variables("esl_agent")["execute_on_answer"] == "sched_cancel"
    # the guard must not call the caller away from a person's ringing telephone
    assert ("sched_cancel", "") in actions("esl_agent_unavailable")


def test_the_apology_is_there_and_any_freeswitch_can_play_it() -> None:
    played = [data for application, data in actions("esl_agent_unavailable") if application == "playback"]
    assert played[0].startswith("tone_stream://")
    assert played[1] == "$${sounds_dir}/esl_agent/unavailable.wav"
    with wave.open(str(ROOT / "freeswitch/sounds/unavailable.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (8000, 1, 2)
        assert 3 < sound.getnframes() / 8000 < 15


def test_the_demo_number_reaches_the_agent() -> None:
    root = ET.parse(DIALPLAN).getroot()
    expression = root.find("./extension[@name='esl_agent']/condition").attrib["expression"]
    assert re.match(expression, str(settings("dids/demo.yaml")["did"]))


def test_the_event_socket_is_where_the_doctor_looks_and_closed_to_other_machines() -> None:
    event_socket = settings("agent.yaml")["event_socket"]
    listens = parameters("event_socket.conf.xml")
    assert (listens["listen-ip"], int(listens["listen-port"])) == (event_socket["host"], event_socket["port"])
    lists = ET.parse(AUTOLOAD / "acl.conf.xml").getroot()
    allowed = lists.find(f".//list[@name='{listens['apply-inbound-acl']}']")
    assert allowed is not None
    assert allowed.attrib["default"] == "deny"
    assert {node.attrib["cidr"] for node in allowed} == {"127.0.0.0/8", "::1/128"}


def test_every_module_the_agent_needs_is_loaded() -> None:
    modules = {item.attrib["module"] for item in ET.parse(AUTOLOAD / "modules.conf.xml").getroot().iter("load")}
    assert {"mod_event_socket", "mod_audio_fork", "mod_sndfile", "mod_tone_stream", "mod_commands"} <= modules


def test_the_read_me_names_every_file() -> None:
    text = (ROOT / "freeswitch/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "freeswitch").rglob("*.*"):
        if path.name != "README.md":
            assert str(path.relative_to(ROOT / "freeswitch")) in text
