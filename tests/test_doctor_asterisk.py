"""The doctor says what stands between a caller at Asterisk and the agent, from what Asterisk itself once printed."""

from __future__ import annotations

import dataclasses
import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.server import StreamServer
from hypothesis import given
from hypothesis import strategies as st

from esl_agent import config as configuration
from esl_agent import doctor
from esl_agent.config import Config
from esl_agent.doctor_asterisk_checks import KEYS, TYPED_RATES, WEBSOCKET_JSON, can, release
from esl_agent.doctor_asterisk_dialplan import AsteriskPlan, Step, arguments, fits
from esl_agent.doctor_asterisk_paths import entrance
from esl_agent.doctor_asterisk_view import plan_of, plan_of_console
from esl_agent.wire.ami import BANNER, Parser

CORPUS = Path(__file__).parent / "corpus" / "asterisk"
#: Console command -> what is recorded of it.
SAID = {
    "core show version": "version",
    "dialplan show": "dialplan",
    "dialplan show globals": "globals",
    "core show translation paths slin 24000": "translation",
    "manager show user esl_agent": "user",
    "manager show settings": "manager",
    "http show status": "http",
    "pjsip show endpoint trunk": "endpoint",
    "module show": "modules",
}
AGENT = """
asterisk:
  enabled: true
  audiosocket: {{port: {port}}}
  {more}
"""
DID = """
did: "5000"
phrases: {greeting: "Good day.", goodbye: "Goodbye."}
destinations: {desk: {number: "2001"}}
llm: {engine: rules, rules: [], otherwise: "x"}
"""
GOOD = "Dial(AudioSocket/127.0.0.1:{port}/${{UUID()}}/c(slin24),,g)"


class Console:
    """Asterisk's console, as it was recorded, with what a test changes."""

    def __init__(self) -> None:
        self.said = {command: (CORPUS / f"{name}.txt").read_text() for command, name in SAID.items()}

    def __call__(self, command: str) -> str | None:
        return self.said.get(command, f"No such command '{command}' (type 'core show help {command}' for other)")

    def dialplan(self, **contexts: str) -> None:
        """In place of the recorded one: context -> lines of ``extension: step; step``."""
        text = ""
        for name, lines in contexts.items():
            text += f"[ Context '{name.replace('_', '-')}' created by 'pbx_config' ]\n"
            for line in lines.strip().splitlines():
                extension, _, steps = line.strip().partition(": ")
                for number, step in enumerate(steps.split("; "), 1):
                    head = f"'{extension}' =>" if number == 1 else ""
                    text += f"  {head:<17} {number}. {step:<45} [extensions.conf:{number}]\n"
            text += "\n"
        self.said["dialplan show"] = text


@dataclasses.dataclass
class Patient:
    """A configuration whose agent listens, and the Asterisk beside it."""

    config: Config
    console: Console
    port: int

    def report(self, did: str | None = "5000") -> str:
        out = io.StringIO()
        self.problems = doctor.run(self.config, did, out, {}, only_asterisk=True, console=self.console)
        return out.getvalue()

    def way(self, line: str, before: str = "", after: str = "; Hangup(16)") -> str:
        """The report when the trunk's calls to 5000 meet ``line``."""
        steps = f"{before}{line.format(port=self.port)}{after}"
        self.console.dialplan(inbound=f"5000: {steps}", ai_transfer="_2XXX: Dial(PJSIP/2001)")
        return self.report()


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.fixture
def make(tmp_path: Path, listener: int):
    def made(more: str = "", port: int = listener) -> Patient:
        (tmp_path / "agent.yaml").write_text(AGENT.format(port=port, more=more))
        (tmp_path / "dids").mkdir(exist_ok=True)
        (tmp_path / "dids/5000.yaml").write_text(DID)
        console = Console()
        console.said["dialplan show globals"] = f"   AUDIOSOCKET_ADDR=127.0.0.1:{port}\n"
        return Patient(configuration.load(tmp_path, environment={}), console, port)

    return made


def complaints(report: str) -> list[str]:
    return re.findall(r"(?m)^(?:FAIL|WARN) .*", report)


# The whole of it


def test_a_sound_asterisk_has_nothing_wrong_with_it(make):
    patient = make()
    report = patient.report()
    assert [line for line in complaints(report) if "asterisk.ami.server is empty" not in line] == []
    assert patient.problems == 0
    assert (
        f"from inbound: Dial(AudioSocket/127.0.0.1:{patient.port}/${{UUID()}}/c(slin24),,g) at _[+0-9]!@ai-inbound:3"
        in report
    )
    assert "slin24 to ulaw: (slin@24000)->(slin@8000)->(ulaw@8000)" in report
    assert "trunk: calls enter context inbound; codecs ulaw|alaw" in report
    assert "in ai-transfer: desk (2001)" in report


def test_every_problem_says_what_to_do_about_it(make):
    patient = make()
    patient.console.said["module show"] = ""
    patient.console.dialplan(inbound="100: Hangup()")
    lines = patient.report().splitlines()
    found = [n for n, line in enumerate(lines) if line.startswith(("FAIL", "WARN"))]
    assert len(found) > 2
    assert [lines[n] for n in found if not lines[n + 1].lstrip().startswith("->")] == []


def test_what_nobody_may_look_at_is_not_called_well(make):
    patient = make()
    patient.console.said = {}
    report = patient.report()
    assert "anything inside it" in report
    assert "systemctl status asterisk" in report
    assert set(re.findall(r"(?m)^ok +(\S+)", report)) == {"addresses"}


def test_the_console_of_another_asterisk_is_not_believed(make):
    patient = make('ami: {server: "127.0.0.1:9"}')
    report = patient.report()
    assert "that of this machine is of another Asterisk (port 5738)" in report
    assert "ai-inbound" not in report


def test_a_console_that_first_complains_of_something_else_is_understood(make):
    patient = make()
    complaint = "No ethernet interface found for seeding global EID. You will have to set it manually.\n"
    patient.console.said = {command: complaint + text for command, text in patient.console.said.items()}
    assert "ok           Asterisk      22.10.1" in patient.report()
    assert patient.problems == 0


def test_a_door_that_is_not_enabled_is_a_problem(make):
    patient = make()
    service = patient.config.service
    closed = dataclasses.replace(service, asterisk=dataclasses.replace(service.asterisk, enabled=False))
    patient.config = dataclasses.replace(patient.config, service=closed)
    assert "asterisk.enabled is false" in patient.report()
    assert patient.problems == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_the_doctor_looks_at_every_door_that_is_open(make, enabled):
    patient = make()
    service = dataclasses.replace(
        patient.config.service, asterisk=dataclasses.replace(patient.config.service.asterisk, enabled=enabled)
    )
    out = io.StringIO()
    doctor.run(dataclasses.replace(patient.config, service=service), None, out, {}, console=patient.console)
    assert "event socket" in out.getvalue()
    assert ("AudioSocket/" in out.getvalue()) is enabled


def test_hostile_text_of_asterisk_stays_on_its_line(make):
    patient = make()
    patient.console.said["core show version"] = "Asterisk 22.10.1\x1b[2J\u202eevil built by"
    assert "\x1b" not in patient.report()
    assert "\u202e" not in patient.report()


# The dialplan


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Dial(AudioSocket/127.0.0.1:{port}/${{UUID()}},,g)", "no c(...)"),
        ("Dial(AudioSocket/127.0.0.1:{port}/${{UUID()}}/c(ulaw),,g)", "c(ulaw) comes under the label"),
        ("Dial(AudioSocket/127.0.0.1:1/${{UUID()}}/c(slin24),,g)", "127.0.0.1:1 is not ours"),
        ("Dial(AudioSocket/192.0.2.7:{port}/${{UUID()}}/c(slin24),,g)", "192.0.2.7"),
        ("Dial(AudioSocket/127.0.0.1:{port}/12345/c(slin24),,g)", "'12345' is no UUID"),
        ("Dial(AudioSocket/127.0.0.1:{port}/40325ec2-5efd-4bd3-805f-53576e581d13/c(slin24),,g)", "same UUID"),
        ("AudioSocket(${{UUID()}},127.0.0.1:{port})", "without Answer()"),
        ("Stasis(esl_agent)", "asterisk.ari.url is empty"),
        ("Dial(WebSocket/esl_agent/c(slin24)nf(json),,g)", "asterisk.websocket.listen is empty"),
        ("Dial(PJSIP/1001)", "does not reach us"),
    ],
)
def test_a_line_that_cannot_work_is_a_problem(make, line, told):
    patient = make()
    report = patient.way(line)
    assert [each for each in complaints(report) if each.startswith("FAIL") and told in each], report


@pytest.mark.parametrize(
    ("line", "before", "after", "told"),
    [
        (GOOD, "Answer(); ", "; Hangup(16)", "Answer() before the agent"),
        (GOOD, "", "", "nothing follows Dial"),
        (GOOD.replace(",,g", ",30,U(x^g)"), "", "; Hangup(16)", "without option g"),
        ("AudioSocket(${{UUID()}},127.0.0.1:{port})", "Answer(); ", "; Hangup(16)", "hangs up when no agent answers"),
    ],
)
def test_a_line_that_works_until_it_does_not_is_a_warning(make, line, before, after, told):
    patient = make()
    patient.console.said["module show"] += "app_audiosocket.so   AudioSocket Application   0   Running   extended\n"
    report = patient.way(line, before, after)
    assert [each for each in complaints(report) if each.startswith("WARN") and told in each], report
    assert patient.problems == 0


def test_a_good_line_is_not_complained_of(make):
    assert [each for each in complaints(make().way(GOOD)) if "number" in each] == []


def test_a_stasis_application_of_another_name_is_a_problem(make):
    patient = make('ari: {url: "http://127.0.0.1:9", app: mine}')
    patient.console.said["http show status"] = "Server Enabled and Bound to 127.0.0.1:9\n"
    assert "Stasis(esl_agent): our application is mine" in patient.way("Stasis(esl_agent,5000)")


def test_24_khz_is_a_problem_with_an_asterisk_that_does_not_tell_the_rate(make):
    patient = make()
    patient.console.said["core show version"] = "Asterisk 20.9.1 built by somebody"
    assert "c(slin24) sounds slow and deep" in patient.way(GOOD)
    assert "sounds slow" not in patient.way(GOOD.replace("slin24", "slin"))
    assert "hands on no keys" in patient.report()


def test_a_number_that_only_telephones_can_dial_does_not_come_from_outside(make):
    patient = make()
    patient.console.dialplan(inbound="_6XXX: Hangup()", phones=f"_5XXX: {GOOD.format(port=patient.port)}; Hangup()")
    assert "the trunk's calls enter inbound, from where it does not reach us" in patient.report()


def test_a_trunk_whose_calls_go_nowhere_is_told_of_the_simplest_door(make):
    patient = make('websocket: {listen: "127.0.0.1:9093"}')
    patient.console.dialplan(
        inbound="100: Hangup()",
        ai_agent_websocket="_X!: Dial(WebSocket/esl_agent/c(slin24)nf(json),,g); Hangup(16)",
        ai_inbound=f"_X!: {GOOD.format(port=patient.port)}; Hangup(16)",
    )
    assert "-> Goto(ai-inbound,${EXTEN},1) there" in patient.report()


def test_a_destination_that_is_no_extension_is_a_problem(make):
    patient = make()
    patient.console.dialplan(inbound=f"5000: {GOOD.format(port=patient.port)}; Hangup()", ai_transfer="100: NoOp()")
    assert "ai-transfer has no extension 2001, for desk" in patient.report()


def test_a_warm_transfer_with_no_place_for_the_briefing_is_a_problem(make, tmp_path):
    patient = make('ami: {server: "127.0.0.1:5738"}')
    (tmp_path / "dids/5000.yaml").write_text(DID.replace('number: "2001"', 'mode: warm, dial: "PJSIP/2001"'))
    patient.config = configuration.load(tmp_path, environment={})
    assert "ai-briefing has no extension briefing" in patient.report()
    patient.console.dialplan(ai_briefing="briefing: NoOp()")
    assert "ai-briefing has no extension" not in patient.report()


def test_an_agent_that_does_not_listen_is_a_problem(make):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    assert f"asterisk.audiosocket 127.0.0.1:{port}: nobody listens" in make(port=port).report()


# Asterisk itself


@pytest.mark.parametrize("name", ["chan_audiosocket", "codec_resample", "func_uuid"])
def test_a_module_that_is_missing_is_a_problem(make, name):
    patient = make()
    rows = patient.console.said["module show"].splitlines(keepends=True)
    patient.console.said["module show"] = "".join(row for row in rows if not row.startswith(name))
    assert f"{name} is not loaded" in patient.report()
    assert patient.problems == 1


def test_a_codec_that_nothing_translates_is_a_problem(make):
    patient = make()
    text = patient.console.said["core show translation paths slin 24000"]
    changed = re.sub(r"(To ulaw:8000 +: ).*", r"\1No Translation Path   ", text)
    patient.console.said["core show translation paths slin 24000"] = changed
    assert "nothing translates slin24 to ulaw" in patient.report()


def test_a_trunk_that_is_not_there_is_told(make):
    patient = make()
    patient.console.said["pjsip show endpoint trunk"] = (CORPUS / "no_endpoint.txt").read_text()
    assert "there is no PJSIP endpoint trunk" in patient.report()


def test_addresses_that_asterisk_elsewhere_cannot_use_are_problems(make):
    report = make('ami: {server: "192.0.2.1:5038"}').report()
    assert "which Asterisk on another machine (192.0.2.1) cannot reach" in report
    assert "192.0.2.1, where Asterisk is, is not among those allowed" in report


# AMI's door


def ami_report(make, tmp_path: Path, answer: bytes | None, banner: bytes = BANNER + b"/11.0.0\r\n") -> str:
    """``answer``: to whatever is sent; None: the connection is closed."""

    def serve(sock: socket.socket, _: object) -> None:
        sock.sendall(banner)
        while answer is not None and (data := sock.recv(4096)):
            found = re.search(rb"ActionID: (\S+)", data)
            sock.sendall(answer + b"ActionID: " + (found[1] if found else b"") + b"\r\n\r\n")

    (tmp_path / "secret").write_text("a-secret-nobody-may-see")
    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    try:
        where = f'ami: {{server: "127.0.0.1:{server.server_port}", secret_file: "{tmp_path}/secret", timeout: 0.5}}'
        with gevent.Timeout(10):
            report = make(where).report()
    finally:
        server.stop()
    assert "a-secret-nobody-may-see" not in report
    return report


def test_a_refused_login_names_all_that_may_be_its_cause(make, tmp_path):
    report = ami_report(make, tmp_path, b"Response: Error\r\nMessage: Authentication failed\r\n")
    assert "refuses esl_agent (Authentication failed)" in report
    assert "`permit`" in report


def test_what_is_no_manager_interface_is_told_apart(make, tmp_path):
    assert "this is no Asterisk manager interface" in ami_report(make, tmp_path, None, b"SSH-2.0-OpenSSH_9.2\r\n")


def test_nobody_at_amis_port_is_told(make, tmp_path):
    (tmp_path / "secret").write_text("x" * 16)
    assert (
        "127.0.0.1:9 cannot be reached"
        in make(f'ami: {{server: "127.0.0.1:9", secret_file: "{tmp_path}/secret"}}').report()
    )


def test_a_secret_that_is_not_there_is_told(make):
    assert "set ASTERISK_AMI_SECRET, or asterisk.ami.secret_file" in make('ami: {server: "127.0.0.1:9"}').report()


# Reading


def recorded_plan() -> AsteriskPlan:
    parser = Parser()
    parser.feed(BANNER + b"/11.0.0\r\n")
    return plan_of(parser.feed((CORPUS / "ShowDialPlan.bin").read_bytes()))


def test_ami_and_the_console_tell_the_same_dialplan():
    ami, console = recorded_plan(), plan_of_console((CORPUS / "dialplan.txt").read_text())
    assert sorted(ami.steps(), key=lambda s: s.place) == sorted(console.steps(), key=lambda s: s.place)
    assert sum(1 for _ in ami.steps()) == 36
    for plan in (ami, console):
        assert plan.find("phones", "5000") == plan.find("inbound", "5000"), "phones includes inbound"
        assert plan.labelled("ai-ended", "5000", "done") == plan.find("ai-ended", "5000", 3)


def test_a_number_is_followed_through_what_the_dialplan_makes_of_it():
    way, _ = recorded_plan().way("9123455000", "inbound", lambda step: entrance(step) is not None, lambda _: None)
    assert way is not None
    assert way.goal.data == "AudioSocket/127.0.0.1:12345/${UUID()}/c(slin24),,g"
    assert way.steps[1].data == "ai-inbound,5000,1"


@pytest.mark.parametrize(
    ("pattern", "number", "does"),
    [
        ("5000", "5000", True),
        ("5000", "50001", False),
        ("_5XXX", "5000", True),
        ("_5XXX", "500", False),
        ("_NXX", "199", False),
        ("_ZXX", "199", True),
        ("_[1-35]X", "49", False),
        ("_[1-35]X", "59", True),
        ("_[+0-9]!", "+49301234", True),
        ("_5.", "5", False),
        ("_5!", "5", True),
        ("_0[1-9]X.", "0301", True),
        ("_555-1234", "5551234", True),
    ],
)
def test_a_pattern_fits_as_asterisks_does(pattern, number, does):
    assert fits(pattern, number) is does


def test_the_extension_that_says_most_about_the_number_comes_first():
    extensions = ("_X.", "_5!", "_5XXX", "_500[0-4]", "5000")
    plan = AsteriskPlan([Step("c", each, 1, "NoOp", each) for each in extensions])
    for number, expected in (("5000", "5000"), ("5001", "_500[0-4]"), ("5007", "_5XXX"), ("57", "_5!"), ("42", "_X.")):
        step = plan.find("c", number)
        assert step is not None
        assert step.extension == expected


def test_contexts_that_lead_to_each_other_end():
    plan = AsteriskPlan(
        [Step("a", "_X!", 1, "Goto", "b,${EXTEN},1"), Step("b", "_X!", 1, "GotoIf", "$[1]?a,${EXTEN}0,1:a,${EXTEN},1")],
        [("a", "b"), ("b", "a")],
    )
    assert plan.way("5", "a", lambda _: False, lambda _: None)[0] is None


def test_many_contexts_that_include_each_other_are_each_looked_into_once():
    names = [str(each) for each in range(40)]
    plan = AsteriskPlan([Step("39", "5", 1, "NoOp", "")], [(one, other) for one in names for other in names])
    assert plan.find("0", "5") is not None
    assert plan.find("0", "6") is None


def test_either_branch_of_a_question_may_lead_to_us():
    plan = AsteriskPlan(
        [
            Step("a", "5", 1, "GotoIf", "$[${TIME} > 5]?closed,1:open,5,1"),
            Step("open", "5", 1, "Gosub", "prepare,s,1(x,y)"),
            Step("open", "5", 2, "ExecIf", '$["${X}" = ""]?Dial(AudioSocket/h:1/${UUID()}/c(slin)):NoOp(x)'),
            Step("prepare", "s", 1, "Return", ""),
        ]
    )
    way, _ = plan.way("5", "a", lambda step: entrance(step) is not None, lambda _: None)
    assert way is not None
    assert way.goal.data == "AudioSocket/h:1/${UUID()}/c(slin)"
    assert way.branches == ["5@a:1", "5@open:2"]


@given(st.text(alphabet="_X.![]0-9aZN${}(),:?&/^", max_size=40), st.text(alphabet="0+9", max_size=8))
def test_any_dialplan_can_be_read(text, number):
    fits(text, number)
    arguments(text)
    names = ("Goto", "GotoIf", "Gosub", "ExecIf", "Set", "Dial", "Stasis", "AudioSocket")
    steps = [Step("c", "_X!", at, name, text) for at, name in enumerate(names, 1)]
    plan = AsteriskPlan([*steps, Step("c", text, 1, "NoOp", "")], [("c", "c")])
    plan.way(number, "c", lambda step: entrance(step) is not None and False, lambda _: text)


# Versions


def test_releases_of_each_series_are_told_apart():
    assert release("22.10.1+dfsg+~cs6.17.60671434-1") == (22, 10)
    assert release("certified/20.7-cert4") == (20, 7)
    assert release("GIT-master-1a2b3c") is None
    assert can(TYPED_RATES, (22, 6)) is False
    assert can(TYPED_RATES, (22, 7)) is True
    assert can(TYPED_RATES, (23, 0)) is False
    assert can(TYPED_RATES, (18, 26)) is False
    assert can(TYPED_RATES, (24, 0)) is True
    assert can(KEYS, (21, 9)) is None, "nobody has looked"
    assert can(WEBSOCKET_JSON, (20, 18)) is True
    assert can(TYPED_RATES, None) is None
