"""``esl-agent demo``: one whole call, without telephone, key or FreeSWITCH.

The real server answers at ports of its own. A pretend FreeSWITCH calls it over the real protocols, with recordings of
a person as the caller. What is printed is what the journal says as it happens, and what the recording shows after it.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import gevent

from esl_agent import config as configuration
from esl_agent.audio.pcm import Sound
from esl_agent.config import Config
from esl_agent.demo.colleague import COLLEAGUE, SwitchTold, colleague, handover_of, save
from esl_agent.demo.findings import Clips, cut_after, samples_of, verdicts, waits
from esl_agent.demo.narrator import Narrator
from esl_agent.demo.story import Story, shifted, tell
from esl_agent.demo.transcript import transcript
from esl_agent.demo.voice import Recording, listen
from esl_agent.errors import ConfigError, EslAgentError, ProviderError
from esl_agent.providers.base import Engines, SpeechToText
from esl_agent.providers.worker_pool import default_size
from esl_agent.server import Server
from esl_agent.testing.caller import (
    BargeIn,
    GetThrough,
    HangUp,
    Over,
    PretendCaller,
    Say,
    SayNow,
    Spoken,
    Step,
    Wait,
)
from esl_agent.testing.freeswitch import PretendFreeSwitch, wait_for
from esl_agent.testing.fs_machine import Options
from esl_agent.testing.line import line_noise
from esl_agent.workers import prepared

log = logging.getLogger(__name__)

#: That of dids/demo.yaml, whose agent knows what the caller's recordings talk about.
NUMBER = "5000"
CODEC_RATE = 8000
#: What the caller does. Every name is a recording in testing/speech, but the cough, which is made.
SCRIPT: tuple[Step, ...] = (
    Say("something-terribly-wrong"),
    Say("tt-weasels"),
    Over("digits-oh", after=2.5, gain=-4.0),
    Over("cough", after=5.0, gain=0.0),
    Say("tt-monkeysintro"),
    BargeIn("number-not-answering", after=4.0),
    Say("info-about-last-call"),
    Say("vm-theperson+digits-2"),
    GetThrough(),
    Say("queue-thankyou"),
    Wait(0.6),
    SayNow("vm-goodbye"),
    Wait(0.5),
    HangUp(),
)
FILES = ("call.wav", "briefing.wav", "transcript.txt", "timeline.png", "record.json")
#: The demo has failed when fewer sentences than this were understood and answered.
ANSWERS = 5
#: A call that lasts longer than this has failed.
MAX_SECONDS = 150.0
_WARM_SECONDS = 30.0
#: Nobody is left for longer without being told what is waited for.
_QUIET_SECONDS = 3.0
_NEWS_EVERY = 0.1


def run(
    conf: Path,
    directory: Path,
    to: TextIO,
    script: Sequence[Step] = SCRIPT,
    answers: int = ANSWERS,
    number: str = NUMBER,
) -> int:
    """Place the call, print it, leave FILES in ``directory`` (``briefing.wav`` if a colleague was called).

    Files of an earlier call are removed first. Returns the exit status: 0 if the call was what it should be. Raises
    ConfigError if nobody answers ``number``, EslAgentError if the agent would have no voice.
    """
    narrator = Narrator(to)
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as records:
        config = config_for(configuration.load(conf), Path(records), number)
        story, clips = _call(conf, config, directory, script, narrator, number)
        for record in Path(records).glob("*.json"):
            shutil.copyfile(record, directory / "record.json")
    recording = listen(directory / "call.wav")
    (directory / "transcript.txt").write_text("\n".join(transcript(story)) + "\n", encoding="utf-8")
    _draw(story, recording, clips, directory / "timeline.png", narrator)
    if story.handover:
        save(story.handover, directory / "briefing.wav")
    found = verdicts(story, recording, answers, clips)
    for line in summary(story, recording):
        narrator.say(line)
    for is_so, text in found:
        narrator.say(f"  {'ok  ' if is_so else 'FAIL'}  {text}")
    narrator.say("")
    narrator.say(f"Left in {directory}/: {', '.join(name for name in FILES if (directory / name).exists())}")
    return 0 if all(is_so for is_so, _ in found) else 1


def config_for(config: Config, records: Path, number: str = NUMBER) -> Config:
    """``config`` with the DID alone that answers ``number``, at free ports: it runs beside an agent at work. Raises
    ConfigError."""
    did = config.find(number)
    if did is None:
        known = ", ".join(each.key.removeprefix("= ") for each in config.dids)
        raise ConfigError([f"demo: nobody answers {number}; call one that is answered with --did: {known}"])
    if did.has_agent:
        raise ConfigError(
            [f"demo: {number} is answered by a realtime agent; the demo shows recogniser, model and voice"]
        )
    calls, sound = (f"127.0.0.1:{port}" for port in _free_ports(2))
    service = config.service
    s1 = dataclasses.replace(service.audio.s1_listener, enabled=False)
    service = dataclasses.replace(
        service,
        freeswitch=dataclasses.replace(service.freeswitch, listen=calls, allow=("127.0.0.0/8",)),
        audio=dataclasses.replace(service.audio, listen=sound, advertise="", s1_listener=s1),
        clips=dataclasses.replace(service.clips, shared_path=""),
        cache=dataclasses.replace(service.cache, directory=""),
        log=dataclasses.replace(service.log, private=True),
        records=dataclasses.replace(service.records, directory=str(records)),
    )
    return dataclasses.replace(config, service=service, dids=(did,))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _call(
    conf: Path, config: Config, directory: Path, script: Sequence[Step], narrator: Narrator, number: str
) -> tuple[Story, Clips]:
    """The call, from the server's start to its stop, and what was played on it."""
    server = Server(conf, config, watch=narrator.watch)
    began = time.monotonic()
    server.start()
    try:
        _warm_up(server, narrator)
        found = server.reception.lineup.find(number)
        assert found is not None
        did, engines = found
        specs = did.engines
        names = " + ".join((f"stt {specs.stt[0].name}", f"llm {specs.llm[0].name}", f"tts {engines.tts.voice}"))
        narrator.say(f"{did.name}: {names}; warm after {time.monotonic() - began:.1f} s")
        if number != NUMBER:
            narrator.say(f"The caller's sentences are recordings made for {NUMBER}; {number} answers them as it can.")
        narrator.say("Minutes and seconds of the call. Everything below is printed when it happens.\n")
        caller = PretendCaller(script, rate=CODEC_RATE)
        narrator.spoken = caller.spoken
        options = Options(epoch=time.time() - time.monotonic(), callees={COLLEAGUE: colleague(CODEC_RATE)})
        with PretendFreeSwitch(config.service.freeswitch.address, options=options) as switch:
            call = switch.call(number, audio=caller, codec_rate=CODEC_RATE, record=directory / "call.wav")
            told = SwitchTold(call, caller, narrator)
            ends = time.monotonic() + MAX_SECONDS
            while not call.wait(_NEWS_EVERY) and time.monotonic() < ends:
                told.tell_news()
            told.tell_news()
            if not call.wait(0):
                call.hang_up()
                call.wait(5.0)
            call.wait_released(5.0)
            sounds = switch.sounds()
            records = Path(config.service.records.directory)
            wait_for(lambda: any(records.glob("*.json")), 5.0)
        if not call.frame_times:
            raise EslAgentError(f"demo: the call had no sound: {call.facts[-1:]}")
    finally:
        server.stop()
    zero = call.started_at + call.frame_times[0]
    spoken = [Spoken(said.what, said.began - zero, said.ended - zero, said.purpose) for said in caller.spoken]
    notes = shifted(narrator.notes, narrator.began - zero)
    return tell(notes, spoken, len(call.frame_times) * 0.02, handover_of(call)), _clips(sounds)


def _clips(sounds: Mapping[str, Sound]) -> Clips:
    """Whole clips by turn and number, from the files that were played: the agent names them ``turn-clip.wav``."""
    found = ((re.fullmatch(r"([0-9]+)-([0-9]+)", Path(path).stem), sound) for path, sound in sounds.items())
    return {(int(name[1]), int(name[2])): samples_of(sound, CODEC_RATE) for name, sound in found if name}


def _warm_up(server: Server, narrator: Narrator) -> None:
    """Wait until every fixed phrase is spoken and every listening process has loaded: a call at work finds it so.
    Raises EslAgentError for a voice that does not speak, if it is the only one."""
    [did] = server.reception.lineup.config.dids
    engines = server.reception.lineup.engines[did.key]
    names = [each.name for each in did.engines.tts]
    clauses = list(dict.fromkeys(did.cascade.phrases.clauses()))

    def missing() -> int:
        return sum(server.reception.cache.get(engines.tts.voice, text) is None for text in clauses)

    listening = [gevent.spawn(_listen_once, engines.stt) for _ in range(default_size())]
    gevent.joinall(listening, timeout=_WARM_SECONDS)
    if wait_for(lambda: not missing(), _QUIET_SECONDS):
        return
    due = f"{missing()} of {len(clauses)} phrases are to come"
    narrator.say(f"{did.name}: waiting for the voice ({names[0]}), {_WARM_SECONDS:.0f} s at most: {due}")
    if missing() == len(clauses) and (silent := _silence(engines, clauses[0])):
        if len(names) == 1:
            raise EslAgentError(f"demo: no call is made, for the agent has no voice: {silent}")
        narrator.say(f"{names[0]} does not speak, so {names[1]} is to: {silent}")
    elif not wait_for(lambda: not missing(), _WARM_SECONDS):
        narrator.say(f"{missing()} phrases are still to come: they are late when they are said")


def _listen_once(stt: SpeechToText) -> None:
    """One utterance, so that whoever recognises it is ready for the next."""
    if hasattr(stt, "warm"):
        try:
            list(stt.recognise(iter([line_noise(CODEC_RATE, -40.0, seed=1, seconds=0.5)]), CODEC_RATE))
        except ProviderError as error:
            log.warning("%s", error)


def _silence(engines: Engines, text: str) -> str:
    """Why the preferred voice does not say ``text``; empty: it does."""
    try:
        prepared(engines, text)
    except ProviderError as error:
        return str(error)
    return ""


def _draw(story: Story, recording: Recording, clips: Clips, path: Path, narrator: Narrator) -> None:
    try:
        from esl_agent.demo.picture import draw
    except ImportError:
        narrator.say("(no timeline.png: matplotlib is not installed; pip install 'esl-agent[demo]')")
        return
    draw(story, recording, path, clips)


def summary(story: Story, recording: Recording) -> Iterator[str]:
    """The call in numbers, measured in the recording where they can be."""
    yield ""
    yield f"The call lasted {recording.seconds:.1f} s. Measured in its recording, from the caller's side:"
    pauses = sorted(waits(story, recording))
    if pauses:
        yield f"  from the end of a sentence to the agent's first sound: {_spread(pauses)}"
    for (turn, _), cut in zip(story.barge_ins, cut_after(story, recording), strict=True):
        decided = turn.spans.get("barge_in")
        yield f"  talked over, the agent fell silent within {cut:.2f} s" + (
            f" ({decided:.2f} s of it to be sure that it was speech)" if decided is not None else ""
        )
    yield ""


def _spread(sorted_seconds: Sequence[float]) -> str:
    middle = sorted_seconds[len(sorted_seconds) // 2]
    return f"{middle:.2f} s (median of {len(sorted_seconds)}; {sorted_seconds[0]:.2f} to {sorted_seconds[-1]:.2f})"
