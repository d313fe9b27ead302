"""What every provider promises. A new one subclasses its stage's promises and says how it is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from esl_agent.dialogue.actions import Message
from esl_agent.providers.base import HangUpPart, TextPart

SILENCE = b"\x00\x00" * 8000


class SpeechToTextContract:
    def make(self) -> Any:
        raise NotImplementedError

    def speech(self) -> tuple[bytes, int]:
        """Something sayable and its rate."""
        raise NotImplementedError

    def test_an_utterance_has_exactly_one_final_transcript_and_it_is_the_last(self) -> None:
        pcm, rate = self.speech()
        found = list(self.make().recognise(iter([pcm]), rate))
        assert [t.final for t in found] == [False] * (len(found) - 1) + [True]
        assert found[-1].text

    def test_an_utterance_without_sound_is_not_understood(self) -> None:
        found = list(self.make().recognise(iter([]), 8000))
        assert [(t.text, t.final) for t in found] == [("", True)]

    def test_silence_is_not_understood(self) -> None:
        assert list(self.make().recognise(iter([SILENCE]), 8000))[-1].text == ""

    def test_sound_may_come_in_pieces_of_any_length(self) -> None:
        pcm, rate = self.speech()
        pieces = iter([pcm[:1], pcm[1:1001], b"", pcm[1001:]])
        whole = list(self.make().recognise(iter([pcm]), rate))[-1].text
        assert list(self.make().recognise(pieces, rate))[-1].text == whole


class TextToSpeechContract:
    HOSTILE = (
        "-w /tmp/never.wav hello",
        "--help",
        "$(touch /tmp/never.wav) `id` ; rm -rf never",
        "<speak><break time='9s'/>hello</speak>",
        "hello\x00\x1b[2J\r\nworld",
        "/etc/passwd",
        "word " * 5000,
        "\ud800 hello \U0001f600",
    )

    def make(self) -> Any:
        raise NotImplementedError

    def test_speech_comes_in_whole_samples(self) -> None:
        pieces = list(self.make().speak("Hello world, how are you?"))
        assert pieces
        assert all(piece and len(piece) % 2 == 0 for piece in pieces)

    def test_speech_lasts_about_as_long_as_a_person_would_need_at_the_rate_it_claims(self) -> None:
        voice = self.make()
        pcm = b"".join(voice.speak("One two three four five six seven eight nine ten."))
        assert 1.5 < len(pcm) / 2 / voice.rate < 8.0

    def test_text_without_a_word_makes_no_sound(self) -> None:
        for text in ("", "   ", "...", "?!", "\x00\n"):
            assert list(self.make().speak(text)) == []

    def test_hostile_text_is_only_ever_spoken(self) -> None:
        voice = self.make()
        for text in self.HOSTILE:
            assert b"".join(voice.speak(text)), text[:30]


class LanguageModelContract:
    def make(self) -> Any:
        raise NotImplementedError

    def history(self) -> Iterator[Message]:
        yield Message("system", "You answer the telephone.")
        yield Message("user", "hello")

    def test_the_same_history_has_the_same_reply_whoever_asked_in_between(self) -> None:
        model = self.make()
        first = list(model.reply(tuple(self.history())))
        list(model.reply((Message("user", "something else"),)))
        assert list(model.reply(tuple(self.history()))) == first

    def test_a_reply_is_text_and_nothing_follows_the_wish_to_hang_up(self) -> None:
        parts = list(self.make().reply(tuple(self.history())))
        assert isinstance(parts[0], TextPart)
        assert not any(isinstance(part, HangUpPart) for part in parts[:-1])
