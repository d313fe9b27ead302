"""The whisper_cpp recogniser, and the OpenAI one, against whisper.cpp's own server, with a model that hears the same
words in any sound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gevent
import openai
import pytest

from esl_agent.audio.wav import wav
from esl_agent.errors import ProviderError
from esl_agent.providers.base import EngineContext, Transcript
from esl_agent.testing.caller import recording
from tests.real.servers import Running, engine
from tests.real.tap import Tap

pytestmark = pytest.mark.system
PATIENCE = 10.0
HEARD = "Good day, this is a real ☎ server."
HELLO = recording("hello-world")


@pytest.fixture
def tap(whisper: Running) -> Iterator[Tap]:
    with Tap(whisper.url) as wire:
        yield wire


def ear(url: str, context: EngineContext | None = None, **options: Any) -> Any:
    return engine("stt", "whisper_cpp", context, url=url, **options)


def heard(found: Iterator[Transcript]) -> str:
    """The one final transcript."""
    transcripts = list(found)
    assert [each.final for each in transcripts] == [False] * (len(transcripts) - 1) + [True]
    return transcripts[-1].text


def processed(server: Running) -> tuple[int, str]:
    """(samples at 16 kHz, language) of the request that the server worked on last, as its log has it."""
    found = re.findall(r"\((\d+) samples, [\d.]+ sec\).*?lang = (\w+)", server.says())[-1]
    return int(found[0]), found[1]


def test_the_segments_of_an_utterance_are_one_line(tap: Tap) -> None:
    assert heard(ear(tap.url).recognise(iter([HELLO.pcm]), HELLO.rate)) == HEARD


@pytest.mark.parametrize("rate", [8000, 16000])
def test_all_of_the_sound_arrives_at_the_rate_that_the_server_wants(whisper: Running, tap: Tap, rate: int) -> None:
    frame = b"\x10\x00" * (rate // 50)
    heard(ear(tap.url).recognise(iter([frame] * 75), rate))
    assert processed(whisper)[0] == pytest.approx(24000, abs=160)


def test_the_language_of_the_did_is_asked_for(whisper: Running, tap: Tap) -> None:
    assert heard(ear(tap.url, EngineContext("de-AT")).recognise(iter([HELLO.pcm]), HELLO.rate)) == HEARD
    assert processed(whisper)[1] == "de"


def test_phrases_of_the_did_do_not_disturb(tap: Tap) -> None:
    context = EngineContext("en", ("opening hours", "Müller & Söhne", 'say "yes"'))
    assert heard(ear(tap.url, context, phrases=True).recognise(iter([HELLO.pcm]), HELLO.rate)) == HEARD


def test_one_connection_serves_utterance_after_utterance(tap: Tap) -> None:
    recogniser = ear(tap.url)
    for _ in range(3):
        heard(recogniser.recognise(iter([HELLO.pcm]), HELLO.rate))
    assert tap.made == 1


def test_utterances_that_end_at_once_are_all_recognised(tap: Tap) -> None:
    recogniser = ear(tap.url)
    calls = [gevent.spawn(lambda: heard(recogniser.recognise(iter([HELLO.pcm]), HELLO.rate))) for _ in range(3)]
    gevent.joinall(calls, PATIENCE)
    assert [call.value for call in calls] == [HEARD] * 3


def test_an_utterance_whose_call_ends_is_given_up_by_the_server(whisper: Running, tap: Tap) -> None:
    frame = b"\x10\x00" * 320
    call = gevent.spawn(lambda: heard(ear(tap.url).recognise(iter([frame] * 2900), 16000)))
    with gevent.Timeout(PATIENCE):
        while len(tap.sent) < 2900 * len(frame):
            gevent.sleep(0.001)
        while "(928000 samples" not in whisper.says():
            gevent.sleep(0.01)
    call.kill(timeout=1.0)
    assert call.dead
    assert tap.has_let_go()
    with gevent.Timeout(PATIENCE):
        while "client disconnected, aborted processing" not in whisper.says():
            gevent.sleep(0.01)


def test_an_utterance_without_sound_is_not_understood(tap: Tap) -> None:
    assert heard(ear(tap.url).recognise(iter([]), 8000)) == ""


def test_a_wrong_path_is_the_setups_fault(tap: Tap) -> None:
    with pytest.raises(ProviderError, match="404") as caught:
        heard(ear(f"{tap.url}/nowhere").recognise(iter([HELLO.pcm]), HELLO.rate))
    assert (caught.value.blame, caught.value.retryable) == ("setup", False)


def test_openais_path_is_served_by_the_openai_recogniser_and_by_openais_client(
    openai_whisper: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-is-needed-here")
    url = f"{openai_whisper.url}/v1"
    ours = engine("stt", "openai", url=url, model="chain")
    assert heard(ours.recognise(iter([HELLO.pcm]), HELLO.rate)) == HEARD
    client = openai.OpenAI(base_url=url, max_retries=0, timeout=PATIENCE)
    theirs = client.audio.transcriptions.create(model="chain", file=("a.wav", wav(HELLO.pcm, HELLO.rate)))
    assert " ".join(theirs.text.split()) == HEARD


def test_it_is_heard_by_the_older_contract_too_while_the_caller_speaks_and_after(transcribe_whisper: Running) -> None:
    url = f"{transcribe_whisper.url}/transcribe"
    assert heard(engine("stt", "transcribe", url=url).recognise(iter([HELLO.pcm]), HELLO.rate)) == HEARD

    def spoken() -> Iterator[bytes]:
        frame = HELLO.rate // 50 * 2
        for at in range(0, len(HELLO.pcm), frame):
            gevent.sleep(0.02)
            yield HELLO.pcm[at : at + frame]

    found = list(engine("stt", "transcribe_streaming", url=url, interval=0.3).recognise(spoken(), HELLO.rate))
    assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
    assert len(found) > 1
    assert {each.text for each in found} == {HEARD}
