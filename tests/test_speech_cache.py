"""Fixed phrases outlive the process, and a disk that misbehaves costs no more than a synthesis."""

from __future__ import annotations

import gc
import io
import os
import threading
import time
import wave
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest
from gevent.pool import IMap

from esl_agent import lineup as lineup_module
from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.settings import CascadeSettings, LimitSettings, Phrases
from esl_agent.lineup import keep_warm, warm
from esl_agent.providers.accounts import Accounts
from esl_agent.providers.base import Engines
from esl_agent.providers.resilience_settings import BreakerSettings, ResilienceSettings
from esl_agent.providers.resilient import ResilientVoice
from esl_agent.speech_cache import SpeechCache
from esl_agent.speech_store import LEFTOVER_SECONDS, SpeechStore, store_directory
from esl_agent.testing.providers import CannedLlm, CannedStt, ToneTts, Trouble

SOUND = Sound(bytes(range(256)) * 4, 8000)
TEXT = "Grüß Gott, how can I help you?"


@pytest.fixture
def store(tmp_path: Path) -> SpeechStore:
    store = SpeechStore(tmp_path / "deep" / "cache", 100_000)
    store.open()
    return store


def files(store: SpeechStore) -> list[Path]:
    return sorted(store.directory.iterdir())


def test_what_was_kept_is_there_for_the_next_process(store):
    store.put("rms", TEXT, SOUND)
    assert SpeechStore(store.directory, 100_000).get("rms", 8000, TEXT) == SOUND


def test_a_phrase_belongs_to_its_voice_and_rate(store):
    store.put("rms", TEXT, SOUND)
    assert store.get("slt", 8000, TEXT) is None
    assert store.get("rms", 16000, TEXT) is None
    assert store.get("rms", 8000, TEXT + "!") is None


def test_a_kept_phrase_is_a_wav_that_plays_and_says_what_it_is(store):
    store.put("rms", TEXT, SOUND)
    (path,) = files(store)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.readframes(file.getnframes()) == SOUND.pcm
    assert TEXT.encode() in path.read_bytes()


def stereo() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4000))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:20],
        lambda whole: whole[:-2],
        lambda whole: whole + b"\0\0",
        lambda whole: whole[:-700] + bytes(700),
        lambda whole: bytes(len(whole)),
        lambda whole: whole.replace(b"esl_agent speech 1", b"esl_agent speech 2"),
        lambda whole: stereo(),
    ],
)
def test_a_file_that_is_damaged_or_somebody_elses_is_ignored_and_replaced(store, damage):
    store.put("rms", TEXT, SOUND)
    (path,) = files(store)
    path.write_bytes(damage(path.read_bytes()))
    assert store.get("rms", 8000, TEXT) is None
    store.put("rms", TEXT, SOUND)
    assert files(store) == [path]
    assert store.get("rms", 8000, TEXT) == SOUND


def age(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when))


def test_the_least_recently_used_phrase_goes_when_the_limit_is_passed(store):
    sound = Sound(bytes(30_000), 8000)
    for text in ("one", "two", "three"):
        store.put("v", text, sound)
        for path in files(store):
            age(path, time.time() - path.stat().st_mtime + 10)
    assert store.get("v", 8000, "one") == sound
    store.put("v", "four", sound)
    assert [text for text in ("one", "two", "three", "four") if store.get("v", 8000, text)] == ["one", "four"]


def test_the_limit_holds_from_the_start_on(store):
    for text in ("one", "two", "three"):
        store.put("v", text, Sound(bytes(30_000), 8000))
    smaller = SpeechStore(store.directory, 70_000)
    smaller.open()
    assert len(files(smaller)) == 2


def test_a_phrase_larger_than_the_limit_is_not_kept(store):
    store.put("v", "long", Sound(bytes(200_000), 8000))
    assert files(store) == []


def test_what_lies_beside_the_cache_is_left_alone(store):
    (store.directory / "README").write_bytes(bytes(200_000))
    (store.directory / "greeting.wav").write_bytes(bytes(200_000))
    store.put("v", TEXT, SOUND)
    SpeechStore(store.directory, 10).open()
    assert [path.name for path in files(store)] == ["README", "greeting.wav"]


def test_what_a_killed_process_left_half_written_is_removed_once_it_is_old(store):
    old, young = (store.directory / f"{'0' * 40}.0000000{n}.part" for n in (1, 2))
    for path in (old, young):
        path.write_bytes(b"RIFF")
    age(old, LEFTOVER_SECONDS + 1)
    store.open()
    assert files(store) == [young]


def test_two_processes_may_write_the_same_phrase_at_once(store):
    stores = [SpeechStore(store.directory, 100_000) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda own=own: [own.put("v", str(n % 5), SOUND) for n in range(50)]) for own in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(store)) == 5
    assert all(store.get("v", 8000, str(n)) == SOUND for n in range(5))


def test_a_directory_that_cannot_be_used_leaves_the_memory(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = SpeechCache(100_000, SpeechStore(blocked / "cache", 100_000))
    cache.open()
    cache.keep("v", TEXT, SOUND)
    assert cache.recall("v", 8000, TEXT)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_disk_that_fills_up_is_told_once_and_not_asked_again(store, caplog, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esl_agent.speech_store._write", full)
    cache = SpeechCache(100_000, store)
    for text in "abc":
        cache.keep("v", text, SOUND)
    assert [cache.get("v", text) for text in "abc"] == [SOUND] * 3
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_where_phrases_are_kept():
    assert store_directory("", {"HOME": "/root"}) is None
    assert store_directory("/x", {"CACHE_DIRECTORY": "/c"}) == Path("/x")
    assert store_directory("auto", {"CACHE_DIRECTORY": "/c:/d", "HOME": "/h"}) == Path("/c")
    assert store_directory("auto", {"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/esl_agent")
    assert store_directory("auto", {"HOME": "/h"}) == Path("/h/.cache/esl_agent")
    assert store_directory("auto", {}) is None


def lineup_of(*voices: ToneTts, greetings: tuple[str, ...] = ("Good day. ", "Hello there. ")):
    """DIDs with the same phrases but for the greeting."""
    dids = [
        SimpleNamespace(key=str(n), name=f"did {n}", cascade=CascadeSettings(phrases=Phrases(greeting=greeting)))
        for n, greeting in enumerate(greetings)
    ]
    engines = {
        did.key: Engines(CannedStt([""]), CannedLlm([""]), voices[n % len(voices)]) for n, did in enumerate(dids)
    }
    alone = SimpleNamespace(languages={})
    return SimpleNamespace(config=SimpleNamespace(dids=dids), engines=engines, duties_of=lambda did: alone)


def test_after_a_restart_no_phrase_is_spoken_again(store):
    first, second = ToneTts(8000), ToneTts(8000)
    warm(lineup_of(first), SpeechCache(10**8, SpeechStore(store.directory, 10**8)))
    assert len(first.said) > 5
    cache = SpeechCache(10**8, SpeechStore(store.directory, 10**8))
    warm(lineup_of(second), cache)
    assert second.said == []
    assert all(cache.get(second.voice, text) for text in first.said)


def test_another_voice_speaks_every_phrase_for_itself(store):
    warm(lineup_of(ToneTts(8000)), SpeechCache(10**8, store))
    other = ToneTts(8000, pitch=300)
    warm(lineup_of(other), SpeechCache(10**8, store))
    assert len(other.said) > 5


def test_every_greeting_is_ready_before_anybodys_second_phrase(monkeypatch):
    monkeypatch.setattr(lineup_module, "WARM_AT_ONCE", 1)
    voice = ToneTts(8000)
    warm(lineup_of(voice), SpeechCache())
    assert voice.said[:2] == ["Good day.", "Hello there."]
    assert len(set(voice.said)) == len(voice.said)


def test_a_phrase_that_cannot_be_spoken_does_not_stop_the_others(caplog):
    voice, cache = ToneTts(8000, trouble=Trouble(fail=1)), SpeechCache()
    warm(lineup_of(voice), cache)
    assert "cannot prepare a phrase" in caplog.text
    missing = [text for text in voice.said if cache.get(voice.voice, text) is None]
    assert len(missing) == 1


def behind(*voices: ToneTts, rest: float = 15.0) -> ResilientVoice:
    settings = ResilienceSettings(breaker=BreakerSettings(rest=rest))
    return ResilientVoice(voices, settings, LimitSettings(), Accounts())


def test_a_fallbacks_sound_is_never_kept_as_the_preferred_voices():
    down, works, cache = ToneTts(8000, trouble=Trouble(fail=99)), ToneTts(8000, pitch=300), SpeechCache()
    missing = warm(lineup_of(behind(down, works)), cache)
    assert works.said == []
    assert len(missing) > 5
    assert all(cache.get(down.voice, text) is None for _, _, text in missing)


def test_a_voice_that_is_down_is_not_asked_for_every_phrase():
    down = ToneTts(8000, trouble=Trouble(fail=99))
    missing = warm(lineup_of(behind(down)), SpeechCache())
    assert len(down.said) < len(missing)


def test_phrases_are_prepared_once_their_voice_works_again(monkeypatch):
    monkeypatch.setattr(lineup_module, "AGAIN", 0.001)
    voice, cache = ToneTts(8000, trouble=Trouble(fail=12)), SpeechCache()
    phrases = lineup_of(behind(voice, rest=0.001))
    with gevent.Timeout(5.0):
        keep_warm(phrases, cache)
    assert len(voice.said) > 12
    assert all(cache.get(voice.voice, text) for text in voice.said)


def test_phrases_of_a_configuration_that_was_replaced_are_not_prepared_any_more():
    voice = ToneTts(8000, trouble=Trouble(never=True), sleep=gevent.sleep)
    preparing = gevent.spawn(keep_warm, lineup_of(voice), SpeechCache())
    with gevent.Timeout(5.0):
        while len(voice.said) < lineup_module.WARM_AT_ONCE:
            gevent.sleep(0.001)
    begun = len(voice.said)
    preparing.kill()
    gevent.sleep(0.01)
    assert len(voice.said) == begun
    assert not [each for each in gc.get_objects() if type(each) is IMap and not each.dead]


def test_a_voice_with_a_bug_does_not_stop_the_phrases_of_the_others(caplog):
    class Odd(ToneTts):
        def speak(self, text):
            if len(self.said) == 1:
                self.said.append(text)
                raise KeyError(text)
            return super().speak(text)

    voice, cache = Odd(8000), SpeechCache()
    missing = warm(lineup_of(voice), cache)
    assert len(missing) == 1
    assert "unexpected error" in caplog.text
