"""The doctor beside a real Asterisk: what is well is called well, and what an operator gets wrong is named."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from esl_agent import config as configuration
from esl_agent import doctor
from esl_agent.doctor_asterisk_view import Console
from tests.asterisk.agent import Agent, write_conf
from tests.asterisk.switch import RealAsterisk

pytestmark = pytest.mark.system


def examined(directory: Path, console: Console | None = None) -> str:
    """What the doctor says of 5000, with the configuration in ``directory``."""
    config = configuration.load(directory, environment={})
    out = io.StringIO()
    problems = doctor.run(config, "5000", out, {}, only_asterisk=True, console=console or (lambda command: None))
    report = out.getvalue()
    assert problems == len(re.findall(r"(?m)^FAIL ", report))
    return report


def configured(directory: Path, switch: RealAsterisk, **conf: Any) -> Path:
    """The configuration of the tests' agents, without the destination that is not there on purpose."""
    directory.mkdir()
    write_conf(directory, switch, **conf)
    did = directory / "dids/5000.yaml"
    did.write_text("".join(line for line in did.read_text().splitlines(True) if "nowhere:" not in line))
    return directory


def complaints(report: str) -> list[str]:
    return re.findall(r"(?m)^(?:FAIL|WARN) .*", report)


def edit(switch: RealAsterisk, file: str, old: str, new: str) -> None:
    path = switch.run / "conf" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def alone(own_asterisk: RealAsterisk, tmp_path: Path) -> Path:
    """A configuration for ``own_asterisk``; no agent runs."""
    return configured(tmp_path / "conf", own_asterisk)


def test_where_calls_are_answered_nothing_is_wrong(agent: Agent, asterisk: RealAsterisk, tmp_path: Path) -> None:
    report = examined(configured(tmp_path / "conf", asterisk), asterisk.cli)
    assert complaints(report) == [], report
    for told in (
        "lets esl_agent in",
        "beside the doctor 1 connected as esl_agent",
        "application esl_agent is registered",
        "slin24 to alaw: (slin@24000)->(slin@8000)->(alaw@8000)",
        "trunk: calls enter context inbound; codecs ulaw|alaw",
        "from inbound: Dial(AudioSocket/127.0.0.1:",
        "in ai-transfer: desk (2001)",
        "outbound      _[+0-9]!@ai-outbound:1: Dial(AudioSocket/127.0.0.1:",
        f"127.0.0.1:{asterisk.ports.audiosocket}: somebody listens",
    ):
        assert told in report


def test_ami_alone_shows_nearly_all_of_it(agent: Agent, asterisk: RealAsterisk, tmp_path: Path) -> None:
    report = examined(configured(tmp_path / "conf", asterisk, ari=False))
    assert complaints(report) == [], report
    assert "ok           modules       res_audiosocket, chan_audiosocket, codec_resample" in report
    assert "trunk: calls enter context inbound; codecs ulaw|alaw" in report
    assert len(re.findall(r"(?m)^not checked", report)) <= 4, report


def test_the_console_alone_shows_what_ami_shows(asterisk: RealAsterisk, tmp_path: Path) -> None:
    report = examined(configured(tmp_path / "conf", asterisk, ami=False, ari=False), asterisk.cli)
    assert "number 5000   from inbound: Dial(AudioSocket/" in report
    assert "is not ours" in report, "that configuration has a port of its own"
    assert "trunk: calls enter context inbound" in report


def test_an_agent_that_does_not_run_is_missed_everywhere(own_asterisk: RealAsterisk, alone: Path) -> None:
    own_asterisk.start()
    report = examined(alone)
    assert "nobody but the doctor is connected as esl_agent" in report
    assert "nobody has registered application esl_agent" in report
    assert f"asterisk.audiosocket 127.0.0.1:{own_asterisk.ports.audiosocket}: nobody listens" in report


def test_a_dialplan_that_was_spoilt_is_read_as_it_is(own_asterisk: RealAsterisk, alone: Path) -> None:
    edit(own_asterisk, "extensions.conf", "/${UUID()}/c(slin24),,g)\n same => n,Goto(ai-ended",
         "/${UUID()},30)\n same => n,Goto(ai-ended")  # fmt: skip
    edit(own_asterisk, "extensions.conf", "n,Set(AI_OVER_AMI", "n,Answer()\n same => n,Set(AI_OVER_AMI")
    edit(own_asterisk, "extensions.conf", "exten => _2XXX,1", "exten => _3XXX,1")
    own_asterisk.start(AUDIOSOCKET_ADDR="127.0.0.1:1")
    found = "\n".join(complaints(examined(alone)))
    assert "no c(...)" in found
    assert "Answer() before the agent" in found
    assert "without option g" in found
    assert "127.0.0.1:1 is not ours" in found
    assert "ai-transfer has no extension 2001, for desk" in found


def test_another_applications_name_is_noticed(own_asterisk: RealAsterisk, alone: Path) -> None:
    edit(own_asterisk, "extensions.conf", "1,Goto(ai-inbound,${FILTER", "1,Goto(ai-agent,${FILTER")
    own_asterisk.start(VOICEAI_APP="somebody_else")
    assert "Stasis(somebody_else): our application is esl_agent" in examined(alone)


def test_a_section_of_websocket_client_conf_that_is_not_there_is_noticed(
    own_asterisk: RealAsterisk, alone: Path
) -> None:
    edit(own_asterisk, "extensions.conf", "1,Goto(ai-inbound,${FILTER", "1,Goto(ai-agent-websocket,${FILTER")
    edit(own_asterisk, "websocket_client.conf", "[esl_agent]", "[other]")
    own_asterisk.start()
    assert "websocket_client.conf has no section esl_agent" in examined(alone)


def test_modules_that_were_left_out_are_named(own_asterisk: RealAsterisk, alone: Path) -> None:
    for name in ("chan_audiosocket", "codec_resample", "func_dialplan"):
        edit(own_asterisk, "modules.conf", f"load = {name}.so\n", "")
    own_asterisk.start()
    report = examined(alone, own_asterisk.cli)
    for told in (
        "chan_audiosocket is not loaded: needed for AudioSocket",
        "codec_resample is not loaded",
        "func_dialplan is not loaded",
        "nothing translates slin24 to ulaw",
    ):
        assert told in report


@pytest.mark.parametrize("wrong", ["another secret", "another user", "permit"])
def test_a_login_that_ami_refuses_is_told_with_its_causes(own_asterisk: RealAsterisk, alone: Path, wrong: str) -> None:
    if wrong == "another secret":
        (alone / "ami.secret").write_text("another-secret-of-the-tests")
    elif wrong == "another user":
        edit(own_asterisk, "manager.conf", "[esl_agent]", "[somebody]")
    else:
        edit(own_asterisk, "manager.conf", "permit = 127.0.0.1/", "permit = 192.0.2.1/")
    own_asterisk.start()
    report = examined(alone)
    assert "refuses esl_agent (Authentication failed)" in report
    assert "another-secret" not in report
    assert "number 5000" not in report, "ARI cannot show the dialplan"
    assert "dialplan      nobody may look at it" in report


def test_classes_that_the_user_lacks_are_told_with_what_they_are_for(own_asterisk: RealAsterisk, alone: Path) -> None:
    edit(own_asterisk, "manager.conf", "read = call", "read = user")
    edit(own_asterisk, "manager.conf", "write = call,originate,user,reporting", "write = command")
    own_asterisk.start()
    report = examined(alone, own_asterisk.cli)
    assert "no class call in `write`" in report
    assert "no class originate in `write`: no calls that the agent makes" in report
    assert "no class reporting in `write`" in report
    assert "has class command" in report
    assert "may read user and not call" in report
    assert "number 5000   from inbound" in report, "the console shows the dialplan"


def test_a_password_that_ari_refuses_and_a_closed_web_server_are_told_apart(
    own_asterisk: RealAsterisk, alone: Path
) -> None:
    (alone / "ari.secret").write_text("another-password")
    own_asterisk.start()
    report = examined(alone)
    assert re.search(r"FAIL +ARI +http://127.0.0.1:\d+: 401", report)
    own_asterisk.stop()
    edit(own_asterisk, "http.conf", "enabled = yes", "enabled = no")
    own_asterisk.start()
    assert re.search(r"FAIL +ARI +http://127.0.0.1:\d+: no answer", examined(alone))


def test_an_ari_conf_that_asterisk_refuses_whole_is_told(own_asterisk: RealAsterisk, alone: Path) -> None:
    edit(own_asterisk, "ari.conf", "[general]", "[general]\nenabled = yes\n\n[general]")
    own_asterisk.start()
    assert re.search(r"FAIL +ARI .* 404.*\n +-> .*one \[general\] in ari.conf", examined(alone))


def test_an_ari_user_who_may_only_read_is_noticed(own_asterisk: RealAsterisk, alone: Path) -> None:
    edit(own_asterisk, "ari.conf", "read_only = no", "read_only = yes")
    own_asterisk.start()
    assert "esl_agent may only read" in examined(alone)


def test_no_asterisk_at_all_is_told(own_asterisk: RealAsterisk, alone: Path) -> None:
    report = examined(alone)
    assert f"127.0.0.1:{own_asterisk.ports.ami} cannot be reached: Connection refused" in report
    assert re.search(r"anything inside it.*\n +-> first what is said above", report)
