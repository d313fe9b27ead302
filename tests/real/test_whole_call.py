"""A whole call, in which whoever listens, thinks and speaks is a real server; the switch is a pretend one."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from esl_agent import config as configuration
from esl_agent.journal import Note
from esl_agent.lineup import make_lineup
from esl_agent.server import Server
from esl_agent.testing.caller import HangUp, PretendCaller, Say, Wait, recording
from esl_agent.testing.freeswitch import PretendFreeSwitch
from tests.real.replies import HELLO
from tests.real.servers import Running

pytestmark = pytest.mark.system
PATIENCE = 20.0

AGENT = """
freeswitch: {{listen: "127.0.0.1:{esl}"}}
audio: {{listen: "127.0.0.1:{audio}"}}
clips: {{directory: "{directory}/clips"}}
records: {{directory: "{directory}/records"}}
log: {{private: true}}
"""
DID = """
did: 5000
expect: ["one"]
phrases: {{greeting: "Hello."}}
stt: {stt}
llm:
  - {{engine: openai, url: "{llama}/v1", api_key_env: OPENAI_API_KEY, model: chain}}
  - {{engine: rules, rules: [], otherwise: "Nobody thinks today."}}
tts: {{engine: piper, url: "{piper}", length_scale: 0.3}}
"""


def until(condition: Callable[[], Any], why: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never came true; {why()}"
        gevent.sleep(0.01)


class Phone:
    """The service, and the switch that calls it."""

    def __init__(self, directory: Path, ports: tuple[int, int], did: str) -> None:
        (directory / "agent.yaml").write_text(AGENT.format(esl=ports[0], audio=ports[1], directory=directory))
        (directory / "dids").mkdir()
        (directory / "dids" / "5000.yaml").write_text(did)
        self.notes: dict[str, list[Note]] = defaultdict(list)
        config = configuration.load(directory)
        self.server = Server(
            directory, config, lineup=make_lineup(config), watch=lambda call, note: self.notes[call].append(note)
        )
        self.server.start()
        self.switch = PretendFreeSwitch(("127.0.0.1", ports[0]))

    def facts(self, call: Any, what: str) -> list[dict[str, Any]]:
        return [dict(note.facts) for note in self.notes[call.uuid] if note.what == what]

    def said(self, call: Any) -> str:
        """What the caller heard something of."""
        texts = {(note["turn"], note["clip"]): str(note["text"].text) for note in self.facts(call, "clause")}
        played = [note for note in self.facts(call, "played") if note["heard"] > 0]
        return " ".join(texts[note["turn"], note["clip"]] for note in played)

    def story(self, call: Any) -> str:
        return "\n".join(f"{note.at:.2f} {note.what} {dict(note.facts)}" for note in self.notes[call.uuid])

    def close(self) -> None:
        self.switch.close()
        self.server.stop()


@pytest.fixture(params=["embedded", "whisper_cpp"])
def phone(
    request: pytest.FixtureRequest, llama: Running, llama_key: str, piper: Running, tmp_path: Path,
    two_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Phone]:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", llama_key)
    stt = "{engine: embedded}"
    if request.param == "whisper_cpp":
        stt = f'{{engine: whisper_cpp, url: "{request.getfixturevalue("whisper").url}"}}'
    made = Phone(tmp_path, two_ports, DID.format(stt=stt, llama=llama.url, piper=piper.url))
    yield made
    made.close()


@pytest.mark.parametrize("what", [signal.SIGSTOP, signal.SIGKILL], ids=["stalls", "dies"])
def test_a_caller_is_answered_though_the_models_server_does_not(
    what: signal.Signals, other_llama: Running, llama_key: str, piper: Running, tmp_path: Path,
    two_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", llama_key)
    did = DID.format(stt="{engine: embedded}", llama=other_llama.url, piper=piper.url)
    phone = Phone(tmp_path, two_ports, f"{did}\nresilience: {{llm: {{first: 0.4, between: 0.4}}}}")
    try:
        one = recording("digits-1")
        call = phone.switch.call("5000", audio=PretendCaller([Say(one, pause=0.3), Wait(60.0), HangUp()]))
        until(lambda: phone.facts(call, "clause"), lambda: phone.story(call))
        other_llama.process.send_signal(what)
        until(lambda: "Nobody thinks today." in phone.said(call), lambda: phone.story(call))
        call.hang_up()
        assert call.wait_released(5.0)
    finally:
        other_llama.process.send_signal(signal.SIGCONT)
        phone.close()


def test_a_caller_is_heard_and_answered_by_real_servers(phone: Phone) -> None:
    one = recording("digits-1")
    call = phone.switch.call("5000", audio=PretendCaller([Say(one, pause=0.3), Wait(60.0), HangUp()]))
    until(lambda: HELLO in phone.said(call), lambda: phone.story(call))
    call.hang_up()
    assert call.wait_released(5.0)
    # A busy machine is bridged: "One moment please."
    assert phone.said(call).startswith("Hello. ")
