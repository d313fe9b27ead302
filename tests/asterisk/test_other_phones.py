"""Callers that others wrote: sipp over the trunk with A-law, baresip as the registered telephone 1001."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import pytest

from esl_agent.audio.g711 import LAWS
from esl_agent.audio.pcm import Sound
from esl_agent.testing.caller import recording
from esl_agent.testing.line import telephone, trim
from tests.asterisk.agent import GREETING, REPLY, until, voice_of
from tests.asterisk.conftest import program
from tests.asterisk.likeness import likeness
from tests.asterisk.switch import TRUNK_HOST

pytestmark = pytest.mark.system

SPEECH = telephone(trim(recording("queue-thankyou")), 8000)
#: With a second of silence: what sipp plays round and round.
ROUND = Sound(SPEECH.pcm + bytes(16000), 8000)
BARESIP = """
poll_method epoll
sip_listen 127.0.0.1:0
audio_path {directory}
audio_source aufile,{directory}/speech.wav
audio_player aubridge,nil
audio_alert aubridge,nil
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_timeout 0
net_interface 127.0.0.1
snd_path {directory}
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
"""
ACCOUNT = "<sip:1001@127.0.0.1:{port};transport=udp>;auth_user=1001;auth_pass={password};regint=60;audio_codecs=pcmu\n"


def test_sipp_calls_three_times_at_once_and_is_understood(asterisk, agent, tmp_path):
    sipp = program("sipp", "sip-tester")
    speech = tmp_path / "speech.alaw"
    speech.write_bytes(LAWS["PCMA"].encode(ROUND.pcm))
    scenario = Path(__file__).with_name("sipp_caller.xml").read_text().replace('"SPEECH,', f'"{speech},')
    (tmp_path / "caller.xml").write_text(scenario)
    ear = agent.serve("5006", REPLY)
    found = subprocess.run(
        [
            sipp, f"127.0.0.1:{asterisk.ports.sip}", "-i", TRUNK_HOST, "-sf", tmp_path / "caller.xml", "-s", "5006",
            "-m", "3", "-r", "3", "-d", "7000", "-nostdin", "-timeout", "40", "-timeout_error",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr
    until(lambda: agent.is_idle)
    calls = agent.calls_to("5006")
    assert len(calls) == 3
    for call in calls:
        assert agent.facts(call, "played"), agent.story()
        assert agent.facts(call, "caller"), agent.story()
    assert len(ear.heard) >= 3
    for heard in ear.heard:
        score, _ = likeness(Sound(ROUND.pcm * 3, 8000), heard)
        assert score > 0.9


def test_baresip_registers_with_its_password_and_hears_the_agent(asterisk, agent, tmp_path):
    baresip = program("baresip", "baresip-core")
    modules = next((path for path in Path("/usr/lib").glob("**/baresip/modules") if path.is_dir()), None)
    assert modules is not None, "baresip has its modules elsewhere"
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(24000) + SPEECH.pcm + bytes(128000))
    (tmp_path / "config").write_text(BARESIP.format(directory=tmp_path, modules=modules))
    account = ACCOUNT.format(port=asterisk.ports.sip, password=asterisk.secrets.phone)
    (tmp_path / "accounts").write_text(account)
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(
            [baresip, "-f", tmp_path, "-e", f"/dial sip:5007@127.0.0.1:{asterisk.ports.sip}"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=tmp_path,
        )  # fmt: skip
    try:
        until(lambda: "1001/sip:1001" in asterisk.cli("pjsip show contacts"), 30)
        until(lambda: agent.calls_to("5007"), 30, why=lambda: (tmp_path / "log").read_text(errors="replace"))
        (call,) = agent.calls_to("5007")
        until(lambda: len(agent.facts(call, "played")) >= 2, 30, why=agent.story)
        (who,) = agent.facts(call, "call")
        assert who["caller"].text == "1001"
    finally:
        process.terminate()
        process.wait(20)
    until(lambda: agent.is_idle)
    until(lambda: list(tmp_path.glob("dump-*-dec.wav")))
    heard = max((_sound(path) for path in tmp_path.glob("dump-*-dec.wav")), key=lambda sound: sound.seconds)
    assert likeness(heard, voice_of(GREETING))[0] > 0.9
    assert likeness(heard, voice_of(REPLY))[0] > 0.9


def _sound(path: Path) -> Sound:
    """What sndfile has written so far; its header may not be finished."""
    data = path.read_bytes()
    return Sound(data[44:], 8000)
