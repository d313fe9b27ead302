"""The doctor says what stands between a caller and the agent, and never that something is well which it did not see."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent import doctor, doctor_paths
from esl_agent.config import Config, load
from esl_agent.doctor_checks import Finding, Mark
from esl_agent.doctor_dialplan import Dialplan, socket_line
from esl_agent.errors import WireError
from tests.inbound_peer import PASSWORD, REJECTED, Answer, EventSocketPeer

CONF = Path(__file__).parent.parent / "conf"
ENVIRONMENT = {"FREESWITCH_PASSWORD": PASSWORD}

# What FreeSWITCH 1.11.3 said, as it said it.
STATUS = (
    "UP 0 years, 0 days, 0 hours, 0 minutes, 2 seconds, 398 milliseconds, 315 microseconds\n"
    "FreeSWITCH (Version 1.11.3-dev  64bit) is ready\n0 session(s) since startup\n"
    "0 session(s) - peak 0, last 5min 0 \n0 session(s) per Sec out of max 200, peak 0, last 5min 0 \n"
    "1000 session(s) max\nmin idle cpu 0.00/100.00\nCurrent Stack Size/Max 240K/240K\n"
)
CODECS = (
    '{"row_count":6,"rows":[{"type":"codec","name":"G.711 alaw","ikey":"CORE_PCM_MODULE"},'
    '{"type":"codec","name":"G.711 ulaw","ikey":"CORE_PCM_MODULE"},'
    '{"type":"codec","name":"PROXY PASS-THROUGH","ikey":"CORE_PCM_MODULE"},'
    '{"type":"codec","name":"PROXY VIDEO PASS-THROUGH","ikey":"CORE_PCM_MODULE"},'
    '{"type":"codec","name":"RAW Signed Linear (16 bit)","ikey":"CORE_PCM_MODULE"},'
    '{"type":"codec","name":"Speex","ikey":"CORE_SPEEX_MODULE"}]}\n'
)
SOFIA = (
    '<?xml version="1.0" encoding="ISO-8859-1"?>\n<profiles>\n<profile>\n<name>caller</name>\n<type>profile</type>\n'
    "<data>sip:mod_sofia@127.0.0.1:5090</data>\n<state>RUNNING (0)</state>\n</profile>\n<profile>\n"
    "<name>internal</name>\n<type>profile</type>\n<data>sip:mod_sofia@127.0.0.1:5080</data>\n"
    "<state>RUNNING (0)</state>\n</profile>\n</profiles>\n"
)
APPLICATIONS = (
    '{"row_count":143,"rows":[{"name":"acknowledge_call","description":"Indicate Call Acknowledged","syntax":"",'
    '"ikey":"mod_dptools"},{"name":"answer","description":"Answer the call","syntax":"","ikey":"mod_dptools"}]}\n'
)
NO_CHANNELS = '{"row_count": 0}\n'
#: A call in `socket`: the channel of 127.0.0.1:5080, and the other party's.
CHANNELS = (
    '{"row_count":2,"rows":[{"uuid":"439967ac-972a-45e6-a316-016dc4052ab0","direction":"outbound",'
    '"created":"2026-11-21 08:16:46","created_epoch":"1795249006","name":"sofia/caller/5000@127.0.0.1:5080",'
    '"state":"CS_CONSUME_MEDIA","cid_name":"test","cid_num":"1001","ip_addr":"","dest":"5000","application":"",'
    '"application_data":"","dialplan":"","context":"default","read_codec":"","callstate":"DOWN"},'
    '{"uuid":"8062b4db-1c51-4d90-b742-46ba057532d8","direction":"inbound","created":"2026-11-21 08:16:46",'
    '"created_epoch":"1795249006","name":"sofia/internal/1001@127.0.0.1","state":"CS_EXECUTE","cid_name":"test",'
    '"cid_num":"1001","ip_addr":"127.0.0.1","dest":"5000","application":"socket",'
    '"application_data":"127.0.0.1:8084 async full","dialplan":"XML","context":"public","read_codec":"PCMU",'
    '"callstate":"RINGING"}]}\n'
)
#: ``xml_locate dialplan`` with freeswitch/dialplan/esl_agent.xml in it.
DIALPLAN = """<section name="dialplan" description="Regex/XML Dialplan">
    <context name="public">
    
      <extension name="t-busy">
      <condition field="destination_number" expression="^6002$">
        <action application="hangup" data="USER_BUSY"></action>
      </condition>
    </extension>

      <extension name="esl_agent">
          <condition field="destination_number" expression="^5000$">
      
              <action application="set" data="playback_terminators=none"></action>


      
              <action application="set" data="park_timeout=700:NORMAL_TEMPORARY_FAILURE"></action>


      
              <action application="set" data="execute_on_answer=sched_cancel"></action>

              <action application="sched_transfer" data="+30 esl_agent_unavailable"></action>


      
              <action application="set" data="app_disable_expand_variables=true"></action>


      
              <action application="socket" data="127.0.0.1:8084 async full"></action>


      
              <action application="transfer" data="esl_agent_unavailable"></action>

    </condition>

  </extension>

      <extension name="esl_agent_unavailable">
          <condition field="destination_number" expression="^esl_agent_unavailable$">
              <action application="answer"></action>

              <action application="hangup" data="NORMAL_TEMPORARY_FAILURE"></action>

    </condition>

  </extension>

  </context>

  </section>

"""  # noqa: W293


class Surroundings:
    """A machine on which everything is as it should be; tests spoil one thing each."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {
            "version": "FreeSWITCH Version 1.11.3-dev~64bit ( 64bit)\n",
            "status": STATUS,
            "module_exists": lambda name: "false" if name == "mod_audio_stream" else "true",
            "show codec as json": CODECS,
            "show application as json": APPLICATIONS,
            "show channels as json": NO_CHANNELS,
            "strepoch": "1795249164",
            "sofia": SOFIA,
            "xml_locate dialplan": DIALPLAN,
            "file_exists": lambda path: "true" if os.path.exists(path) else "false",
        }
        self.peers: list[EventSocketPeer] = []
        self.doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        config = load(CONF, environment={})
        calls, sound = (f"127.0.0.1:{door.getsockname()[1]}" for door in self.doors)
        self.listen = calls
        self.config = dataclasses.replace(
            config,
            service=dataclasses.replace(
                config.service,
                freeswitch=dataclasses.replace(config.service.freeswitch, listen=calls),
                audio=dataclasses.replace(config.service.audio, listen=sound),
                clips=dataclasses.replace(config.service.clips, directory=str(folder / "clips")),
            ),
        )
        self.dialplan(DIALPLAN)

    def dialplan(self, xml: str) -> None:
        self.answers["xml_locate dialplan"] = xml.replace("127.0.0.1:8084", self.listen)

    def service(self, **parts: dict[str, Any]) -> None:
        """Change settings: ``service(clips={"shared_path": "/x"})``."""
        service = self.config.service
        changed = {name: dataclasses.replace(getattr(service, name), **values) for name, values in parts.items()}
        self.config = dataclasses.replace(self.config, service=dataclasses.replace(service, **changed))

    def report(self, did: str | None = None, environment: dict[str, str] | None = None, **peer: Any) -> tuple[int, str]:
        self.peers.append(EventSocketPeer(self.answers, **peer))
        self.service(event_socket={"host": "127.0.0.1", "port": self.peers[-1].port})
        return self.examine(did, environment)

    def examine(self, did: str | None = None, environment: dict[str, str] | None = None) -> tuple[int, str]:
        out = io.StringIO()
        problems = doctor.run(self.config, did, out, ENVIRONMENT if environment is None else environment)
        return problems, out.getvalue()


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[Surroundings]:
    surroundings = Surroundings(tmp_path)
    yield surroundings
    for peer in surroundings.peers:
        peer.stop()
    for door in surroundings.doors:
        door.close()


def lines(report: str, mark: str) -> list[str]:
    return [line for line in report.splitlines() if line.startswith(mark)]


def test_where_all_is_well_the_doctor_finds_no_problem_and_says_what_it_saw(fs: Surroundings) -> None:
    problems, report = fs.report()
    assert problems == 0, report
    assert report.endswith("0 problems, 0 warnings, 1 not checked\n"), report
    for seen in (
        "1.11.3-dev~64bit ( 64bit)",
        "0 now, 0 at the most so far, 1000 allowed",
        "mod_commands, mod_dptools, mod_dialplan_xml, mod_sndfile, mod_audio_fork, mod_sofia, mod_tone_stream",
        "G.711 alaw, G.711 ulaw",
        "profiles caller at 127.0.0.1:5090, internal at 127.0.0.1:5080",
        f"5000 in public: extension esl_agent, socket {fs.listen} async full",
        "0 channels, 0 with esl_agent_state",
    ):
        assert any(seen in line for line in lines(report, "ok ")), seen
    assert "\033" not in report


def test_what_no_command_of_freeswitch_can_tell_is_said_to_be_unchecked(fs: Surroundings) -> None:
    _, report = fs.report()
    [line] = lines(report, "not checked")
    assert f"whether FreeSWITCH can connect to {fs.listen}" in line


# The door


def test_without_a_password_the_doctor_says_where_to_put_it(fs: Surroundings) -> None:
    problems, report = fs.report(environment={})
    assert problems == 1
    assert "no password for 127.0.0.1:" in report
    assert "set FREESWITCH_PASSWORD, or event_socket.password_file" in report
    assert fs.peers[0].commands == []


def test_a_password_file_that_cannot_be_read_is_a_problem_not_a_crash(fs: Surroundings, tmp_path: Path) -> None:
    fs.service(event_socket={"password_file": str(tmp_path / "missing")})
    problems, report = fs.report(environment={})
    assert problems == 1
    assert "missing" in report


@pytest.mark.parametrize(
    ("peer", "environment", "words"),
    [
        ({}, {"FREESWITCH_PASSWORD": "hunter2"}, "refuses the password (-ERR invalid)"),
        ({"greeting": REJECTED}, ENVIRONMENT, "refuses this machine's address (Access Denied, go away.)"),
        ({"hang_up_at": f"auth {PASSWORD}"}, ENVIRONMENT, "closed the connection"),
    ],
)
def test_a_closed_door_is_one_problem_and_the_rest_is_said_to_be_unchecked(
    fs: Surroundings, peer: dict[str, Any], environment: dict[str, str], words: str
) -> None:
    problems, report = fs.report(environment=environment, **peer)
    assert problems == 1
    assert words in lines(report, "FAIL")[0]
    assert any("anything inside it" in line for line in lines(report, "not checked"))
    assert "hunter2" not in report


def test_a_freeswitch_that_stops_in_the_middle_ends_the_report_in_order(fs: Surroundings) -> None:
    problems, report = fs.report(hang_up_at="api xml_locate dialplan")
    assert problems == 1
    [line] = lines(report, "FAIL")
    assert "dialplan" in line
    assert "closed the connection" in line
    assert "somebody listens" in report


@pytest.mark.parametrize("command", ["version", "status", "sofia", "show codec as json", "show channels as json"])
@pytest.mark.parametrize("answer", ["-ERR nothing\n", "", "nonsense", "[1]", '{"rows": 3}', "<a>", "\x00\x1b[31m"])
def test_an_answer_that_makes_no_sense_is_never_taken_for_health(fs: Surroundings, command: str, answer: str) -> None:
    fs.answers[command] = answer
    _, report = fs.report()
    assert "\x1b" not in report
    assert not report.endswith("0 problems, 0 warnings, 1 not checked\n")


# Modules, codecs, SIP


@pytest.mark.parametrize("name", ["mod_commands", "mod_dptools", "mod_dialplan_xml", "mod_sndfile"])
def test_a_module_that_calls_need_and_that_is_missing_is_a_problem(fs: Surroundings, name: str) -> None:
    fs.answers["module_exists"] = lambda asked: "false" if asked == name else "true"
    problems, report = fs.report()
    assert problems == 1
    assert f"{name} is not loaded" in lines(report, "FAIL")[0]
    assert f"fs_cli -x 'load {name}'" in report


def with_media(fs: Surroundings, kind: str) -> None:
    fs.config = dataclasses.replace(
        fs.config,
        dids=tuple(
            dataclasses.replace(
                did,
                settings=dataclasses.replace(did.settings, media=dataclasses.replace(did.media, kind=kind)),
            )
            for did in fs.config.dids
        ),
    )


def test_the_kind_of_media_that_calls_will_get_is_said(fs: Surroundings) -> None:
    assert any("audio_fork for" in line for line in lines(fs.report()[1], "ok"))
    fs.answers["module_exists"] = lambda asked: "false" if asked == "mod_audio_fork" else "true"
    problems, report = fs.report()
    assert problems == 0
    assert any("unicast for" in line for line in lines(report, "ok"))


def test_a_missing_audio_fork_is_a_problem_where_it_was_asked_for(fs: Surroundings) -> None:
    with_media(fs, "audio_fork")
    fs.answers["module_exists"] = lambda asked: "false" if asked == "mod_audio_fork" else "true"
    problems, report = fs.report()
    assert problems == 1
    assert "mod_audio_fork is not loaded" in lines(report, "FAIL")[0]
    assert "fs_cli -x 'load mod_audio_fork'" in report


def test_audio_stream_in_place_of_audio_fork_is_told_apart(fs: Surroundings) -> None:
    with_media(fs, "audio_fork")
    fs.answers["module_exists"] = lambda asked: "false" if asked == "mod_audio_fork" else "true"
    assert "mod_audio_stream, which is loaded, does not replace it" in fs.report()[1]


def test_a_fork_by_application_needs_that_application(fs: Surroundings) -> None:
    did = fs.config.dids[0]
    settings = dataclasses.replace(did.settings, media=dataclasses.replace(did.media, audio_fork="execute"))
    fs.config = dataclasses.replace(fs.config, dids=(dataclasses.replace(did, settings=settings), *fs.config.dids[1:]))
    problems, report = fs.report()
    assert problems == 1
    assert "no application audio_fork" in report
    fs.answers["show application as json"] = APPLICATIONS.replace('"answer"', '"audio_fork"')
    assert fs.report()[0] == 0


def test_wideband_without_a_wideband_codec_is_a_warning(fs: Surroundings) -> None:
    did = fs.config.dids[0]
    settings = dataclasses.replace(did.settings, media=dataclasses.replace(did.media, rate=16000))
    fs.config = dataclasses.replace(fs.config, dids=(dataclasses.replace(did, settings=settings), *fs.config.dids[1:]))
    assert "no codec is wider than a telephone's" in fs.report()[1]
    fs.answers["show codec as json"] = CODECS.replace("Speex", "OPUS (STANDARD)")
    assert "no codec is wider" not in fs.report()[1]


def test_a_sip_profile_that_does_not_run_is_a_warning(fs: Surroundings) -> None:
    fs.answers["sofia"] = SOFIA.replace("RUNNING (0)", "DOWN")
    _, report = fs.report()
    assert any("no profile runs (caller, internal)" in line for line in lines(report, "WARN"))


def test_fewer_sessions_than_calls_is_a_warning(fs: Surroundings) -> None:
    fs.answers["status"] = STATUS.replace("1000 session(s) max", "100 session(s) max")
    assert "100 allowed; freeswitch.max_calls is 500" in fs.report()[1]


# The dialplan


def test_a_dialplan_without_our_socket_line_is_a_problem(fs: Surroundings) -> None:
    fs.answers["xml_locate dialplan"] = DIALPLAN.replace("127.0.0.1:8084", "10.0.0.9:9000")
    problems, report = fs.report()
    assert problems == 2
    assert f"no `socket` line names {fs.listen}; there is 10.0.0.9:9000 async full (esl_agent in public)" in report
    assert "public gives it to esl_agent_unavailable (socket 10.0.0.9:9000 async full)" in report


@pytest.mark.parametrize(
    ("from_", "to", "mark", "words"),
    [
        ("async full", "async", "FAIL", "lacks full"),
        ("async full", "full", "FAIL", "lacks async"),
        ("8084 async full", "8084", "FAIL", "lacks async and full"),
        (
            '<action application="transfer" data="esl_agent_unavailable"></action>',
            "",
            "WARN",
            "nothing follows `socket`",
        ),
        ('"park_timeout=700:NORMAL_TEMPORARY_FAILURE"', '"x=1"', "WARN", "no park_timeout before"),
        ("park_timeout=700", "park_timeout=600", "WARN", "park_timeout is 600; this number's calls may last"),
        ("park_timeout=700:NORMAL_TEMPORARY_FAILURE", "park_timeout=soon", "WARN", "park_timeout is soon"),
        ("playback_terminators=none", "playback_terminators=#", "WARN", "the key * cuts the agent short"),
        ("^5000$", "^5001$", "FAIL", "does not reach us: public has no extension for it"),
        ('"^6002$"', '"^[56]"', "FAIL", "does not reach us: public gives it to t-busy (hangup)"),
    ],
)
def test_each_flaw_of_the_dialplan_is_told(fs: Surroundings, from_: str, to: str, mark: str, words: str) -> None:
    assert from_ in DIALPLAN
    fs.dialplan(DIALPLAN.replace(from_, to))
    _, report = fs.report()
    assert any(words in line and "number 5000" in line for line in lines(report, mark)), report


def test_a_number_that_nobody_answers_is_a_problem_even_where_the_dialplan_brings_it(fs: Surroundings) -> None:
    fs.config = dataclasses.replace(fs.config, _default=None)
    fs.dialplan(DIALPLAN.replace("^5000$", "^7000$"))
    problems, report = fs.report("7000")
    assert problems == 1
    assert "no file of dids/ answers it" in report


def test_a_dialplan_from_elsewhere_is_unchecked(fs: Surroundings) -> None:
    fs.answers["xml_locate dialplan"] = "can't find anything\n"
    problems, report = fs.report()
    assert problems == 0
    assert any("can't find anything" in line for line in lines(report, "not checked"))


STOCK = """<section name="dialplan">
<context name="default">
  <extension name="unloop">
    <condition field="${unroll_loops}" expression="^true$"/>
    <condition field="${sip_looped_call}" expression="^true$">
      <action application="deflect" data="${destination_number}"/>
    </condition>
  </extension>
  <extension name="global" continue="true">
    <condition><action application="set" data="call_debug=false"/></condition>
  </extension>
  <extension name="night">
    <condition wday="1,7" break="never"/>
    <condition field="destination_number" expression="^5\\d{3}$"/>
    <condition hour="0-7"><action application="hangup" data="USER_BUSY"/></condition>
  </extension>
  <extension name="agent">
    <condition field="destination_number" expression="^(5000|5001)$">
      <action application="socket" data="127.0.0.1:8084 async full"/>
    </condition>
  </extension>
  <extension name="partners">
    <condition field="network_addr" expression="^10\\.0\\.0\\.7$"/>
    <condition regex="any">
      <regex field="destination_number" expression="/^HELP$/i"/>
      <regex field="destination_number" expression="^112$"/>
      <action application="socket" data="10.0.0.8|127.0.0.1:8084/x async full"/>
    </condition>
  </extension>
</context>
<context name="public">
  <extension name="public_did">
    <condition field="destination_number" expression="^(?:\\+49)?30(\\d+)$">
      <action application="transfer" data="$1 XML default"/>
      <action application="log" data="never"/>
    </condition>
  </extension>
</context>
</section>"""


def test_a_number_is_followed_through_a_transfer_into_another_context() -> None:
    route = Dialplan(STOCK).route("+49305000", "public")
    assert [(step.application, step.data, step.extension) for step in route.steps] == [
        ("transfer", "5000 XML default", "public_did"),
        ("set", "call_debug=false", "global"),
        ("socket", "127.0.0.1:8084 async full", "agent"),
    ]


def test_extensions_that_only_the_time_or_a_variable_opens_are_told_apart() -> None:
    route = Dialplan(STOCK).route("5000", "default")
    assert route.skipped == ["unloop", "night"]
    assert route.assumed == []
    assert Dialplan(STOCK).route("6000", "default").skipped == ["unloop"]


def test_a_socket_line_behind_a_condition_we_cannot_know_is_reached_and_said_to_be_assumed() -> None:
    route = Dialplan(STOCK).route("help", "default")
    assert [step.application for step in route.steps][-1] == "socket"
    assert "network_addr of partners" in route.assumed


def test_an_anti_action_takes_the_numbers_that_do_not_match() -> None:
    plan = Dialplan(
        """<section><context name="a"><extension name="x"><condition field="destination_number" expression="^5000$">
        <action application="answer"/><anti-action application="hangup" data="USER_BUSY"/></condition></extension>
        </context></section>"""
    )
    assert [step.application for step in plan.route("5000", "a").steps] == ["answer"]
    assert [step.application for step in plan.route("6000", "a").steps] == ["hangup"]


def test_a_transfer_that_turns_in_a_circle_ends() -> None:
    circle = """<section><context name="a"><extension name="x"><condition field="destination_number" expression="1">
        <action application="transfer" data="1 XML a"/></condition></extension></context></section>"""
    assert {step.application for step in Dialplan(circle).route("1", "a").steps} == {"transfer"}


@given(st.text())
def test_no_text_in_place_of_a_dialplan_can_crash_the_doctor(text: str) -> None:
    try:
        plan = Dialplan(text)
    except WireError:
        return
    assert plan.contexts == ()


@given(st.text())
def test_no_data_of_a_socket_line_can_crash_the_doctor(data: str) -> None:
    line = socket_line(data)
    assert (line is None) == (not data.split())


def test_hosts_of_a_socket_line_are_read_as_freeswitch_reads_them() -> None:
    line = socket_line("10.0.0.7|10.0.0.8:9000/path|agent.example async full")
    assert line is not None
    assert line.hosts == (("10.0.0.7", 8084), ("10.0.0.8", 9000), ("agent.example", 9000))
    assert line.words == {"async", "full"}


def test_a_socket_line_may_name_any_address_of_this_machine_if_we_listen_on_all(fs: Surroundings) -> None:
    port = fs.listen.rpartition(":")[2]
    fs.service(freeswitch={"listen": f"0.0.0.0:{port}"})
    assert fs.report()[0] == 0
    fs.answers["xml_locate dialplan"] = DIALPLAN.replace("127.0.0.1:8084", f"192.0.2.1:{port}")
    assert fs.report()[0] == 2


# Clips


def test_the_probe_clip_leaves_nothing_behind(fs: Surroundings, tmp_path: Path) -> None:
    fs.report()
    assert list(tmp_path.iterdir()) == []
    assert any(re.match(r"api file_exists .*/probe\.wav$", command) for command in fs.peers[0].commands)


def test_a_directory_that_is_there_already_stays(fs: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    fs.report()
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]
    assert list((tmp_path / "clips").iterdir()) == []


def test_a_clip_that_freeswitch_does_not_see_is_a_problem(fs: Surroundings) -> None:
    fs.answers["file_exists"] = "false"
    problems, report = fs.report()
    assert problems == 1
    assert "FreeSWITCH does not see" in report
    assert "PrivateTmp" in report


def test_freeswitch_is_asked_for_the_clip_by_its_own_path(fs: Surroundings, tmp_path: Path) -> None:
    fs.service(clips={"shared_path": "/mounted"})
    fs.answers["file_exists"] = lambda path: str(os.path.exists(path.replace("/mounted", f"{tmp_path}/clips"))).lower()
    problems, report = fs.report()
    assert problems == 0
    assert "FreeSWITCH sees /mounted/doctor-" in report


def test_a_freeswitch_without_file_exists_leaves_clips_unchecked(fs: Surroundings) -> None:
    del fs.answers["file_exists"]
    problems, report = fs.report()
    assert problems == 0
    assert any("file_exists Command not found" in line for line in lines(report, "not checked"))


def test_clips_that_only_our_user_may_read_are_a_warning(fs: Surroundings) -> None:
    before = os.umask(0o077)
    try:
        _, report = fs.report()
    finally:
        os.umask(before)
    assert any("may not read it unless it runs as our user" in line for line in lines(report, "WARN"))


def test_a_directory_we_cannot_write_leaves_clips_unchecked(fs: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fs.service(clips={"directory": str(tmp_path / "file" / "clips")})
    _, report = fs.report()
    assert any("we cannot write" in line for line in lines(report, "not checked"))


# Addresses


def marks(config: Config) -> list[tuple[Mark, str]]:
    found: list[Finding] = list(doctor_paths.addresses(config))
    return [(finding.mark, finding.seen) for finding in found]


def test_an_agent_that_is_not_running_is_a_problem(fs: Surroundings) -> None:
    for door in fs.doors:
        door.close()
    problems, report = fs.report()
    assert problems == 2
    assert f"freeswitch.listen {fs.listen}: nobody listens on this machine" in report
    assert "start it: esl-agent serve" in report


def test_looking_whether_the_agent_listens_does_not_look_like_a_call(fs: Surroundings) -> None:
    fs.report()
    for door in fs.doors:
        door.setblocking(False)
        with pytest.raises(BlockingIOError):
            door.accept()


def test_loopback_addresses_are_a_problem_where_freeswitch_is_elsewhere(fs: Surroundings) -> None:
    fs.service(event_socket={"host": "192.0.2.7"})
    failed = [seen for mark, seen in marks(fs.config) if mark is Mark.FAIL]
    assert any(seen.startswith("freeswitch.listen is 127.0.0.1") and "192.0.2.7" in seen for seen in failed)
    assert any(seen.startswith("audio.listen is 127.0.0.1") for seen in failed)
    assert any(f"ws://{fs.config.service.audio.listen}" in seen for seen in failed)
    assert (Mark.WARN, "calls from 192.0.2.7 are not in freeswitch.allow") in marks(fs.config)


def test_an_advertised_address_and_an_allowed_network_settle_it(fs: Surroundings) -> None:
    port = fs.listen.rpartition(":")[2]
    fs.service(
        event_socket={"host": "192.0.2.7"},
        audio={"listen": f"0.0.0.0:{port}", "advertise": f"192.0.2.8:{port}"},
        freeswitch={"listen": f"0.0.0.0:{port}", "allow": ("192.0.2.0/24",)},
    )
    assert {mark for mark, _ in marks(fs.config)} == {Mark.OK, Mark.UNCHECKED}


def test_a_listen_address_of_another_machine_is_a_problem(fs: Surroundings) -> None:
    fs.service(freeswitch={"listen": "192.0.2.1:8084"})
    assert (Mark.FAIL, "freeswitch.listen 192.0.2.1:8084 is no address of this machine") in marks(fs.config)


# Calls

OURS = "8062b4db-1c51-4d90-b742-46ba057532d8"
VARIABLES = {"esl_agent_state": "listening\n", "esl_agent_turn": "2\n"}


def test_a_call_with_an_agent_is_listed_with_its_state_and_turn_and_no_number(fs: Surroundings) -> None:
    fs.answers["show channels as json"] = CHANNELS
    fs.answers["uuid_getvar"] = lambda asked: VARIABLES[asked.split()[1]] if asked.startswith(OURS) else "_undef_\n"
    problems, report = fs.report()
    assert problems == 0
    assert "2 channels, 1 with esl_agent_state" in report
    assert f"{OURS} listening, turn 2" in report
    assert "1001" not in report


def test_a_call_that_hangs_in_socket_without_an_agent_is_a_warning(fs: Surroundings) -> None:
    fs.answers["show channels as json"] = CHANNELS
    fs.answers["uuid_getvar"] = "_undef_\n"
    _, report = fs.report()
    [line] = lines(report, "WARN")
    assert f"{OURS} since 2026-11-21 08:16:46 is in `socket` and no agent took it" in line


def test_a_call_that_has_just_come_is_no_warning(fs: Surroundings) -> None:
    fs.answers["show channels as json"] = CHANNELS
    fs.answers["uuid_getvar"] = "_undef_\n"
    fs.answers["strepoch"] = "1795249009"
    assert lines(fs.report()[1], "WARN") == []


def test_a_call_that_ends_while_it_is_looked_at_is_passed_over(fs: Surroundings) -> None:
    fs.answers["show channels as json"] = CHANNELS
    fs.answers["uuid_getvar"] = "-ERR No such channel!\n"
    problems, report = fs.report()
    assert problems == 0
    assert "2 channels, 0 with esl_agent_state" in report


def test_thousands_of_channels_are_looked_at_in_part_and_that_is_said(fs: Surroundings) -> None:
    row = orjson.loads(CHANNELS)["rows"][1]
    fs.answers["show channels as json"] = orjson.dumps({"row_count": 600, "rows": [row] * 600}).decode()
    fs.answers["uuid_getvar"] = lambda asked: VARIABLES[asked.split()[1]]
    _, report = fs.report()
    assert "600 channels, 500 with esl_agent_state; the last 100 not looked at" in report
    assert len(report.splitlines()) < 60


# Colours, and a real FreeSWITCH


def test_marks_are_coloured_on_a_terminal_and_nowhere_else(fs: Surroundings) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    fs.peers.append(EventSocketPeer(fs.answers))
    fs.service(event_socket={"port": fs.peers[0].port})
    doctor.run(fs.config, None, out, ENVIRONMENT)
    assert out.getvalue().startswith("\033[32mok")


@pytest.mark.system
def test_a_real_freeswitch_is_understood(tmp_path: Path) -> None:
    command = shutil.which("fs_cli")
    if command is None:
        pytest.skip("no fs_cli on PATH: the doctor was not tried on a real FreeSWITCH")
    password = os.environ.get("FREESWITCH_PASSWORD", PASSWORD)
    asked = subprocess.run([command, "-p", password, "-x", "version"], capture_output=True, text=True, timeout=20)
    if not asked.stdout.startswith("FreeSWITCH Version"):
        pytest.skip(f"fs_cli reaches no FreeSWITCH: {asked.stdout}{asked.stderr}")
    config = load(CONF)
    service = dataclasses.replace(
        config.service, clips=dataclasses.replace(config.service.clips, directory=str(tmp_path))
    )
    out = io.StringIO()
    doctor.run(dataclasses.replace(config, service=service), "5000", out, {"FREESWITCH_PASSWORD": password})
    report = out.getvalue()
    assert asked.stdout.strip().removeprefix("FreeSWITCH Version ") in report
    for subject in ("event socket", "sessions", "codecs", "SIP", "calls", "clips"):
        assert re.search(rf"^(ok|WARN) +{subject} ", report, re.MULTILINE), report
