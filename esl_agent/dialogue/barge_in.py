"""Is this speech over the agent meant to take the floor?

Decided in steps. *Yield*: enough voice over the agent, and the agent hesitates (pauses, becomes softer, or speaks on,
as ``barge_in.hesitate`` says) while an utterance opens. *Confirm*: it goes on long enough, or its words are more than
a back-channel; the agent has lost the floor. *Dismiss*: nothing came of it, and the agent goes on where it stopped.
"""

from __future__ import annotations

import re
from enum import Enum

from esl_agent.audio.pcm import FRAME_SECONDS
from esl_agent.dialogue.settings import BargeInSettings


class Verdict(Enum):
    CONFIRM = "confirm"
    DISMISS = "dismiss"


#: What keeps a speaker going and does not take the floor, by language (the first part of the BCP 47 tag). A phrase is
#: one only as a whole: "I see" is, "see" is not.
BACKCHANNELS: dict[str, tuple[str, ...]] = {
    "en": (
        *("mm", "mmm", "mhm", "mm-hm", "mm-hmm", "mmhm", "mm hm", "hm", "hmm", "uh-huh", "uh huh", "uhuh", "huh"),
        *("uh", "um", "ah", "aha", "oh", "ooh", "okay", "ok", "okey", "yeah", "yah", "yep", "yup", "yes", "right"),
        *("sure", "alright", "all right", "i see", "got it", "gotcha", "of course", "go on", "i understand"),
        *("fine", "good", "great", "cool", "nice", "really", "true", "that's right", "sounds good", "makes sense"),
    ),
    "de": (
        *("mm", "mhm", "hm", "hmm", "mm-hm", "äh", "ähm", "ah", "aha", "oh", "achso", "ach so", "ach ja", "ja", "jaja"),
        *("jo", "jap", "jawohl", "ok", "okay", "gut", "na gut", "alles klar", "klar", "genau", "richtig", "stimmt"),
        *("verstehe", "ich verstehe", "verstanden", "in ordnung", "sicher", "natürlich", "schön", "super", "eben"),
    ),
    "fr": (
        *("mm", "mhm", "hm", "hmm", "euh", "ah", "oh", "ben", "oui", "ouais", "ok", "okay", "d'accord", "dac", "bien"),
        *("très bien", "c'est bon", "je vois", "je comprends", "compris", "entendu", "voilà", "exactement", "parfait"),
        *("bien sûr", "ah bon", "ah oui", "c'est ça"),
    ),
    "es": (
        *("mm", "mhm", "hm", "ajá", "aja", "ah", "eh", "oh", "sí", "si", "ya", "ok", "okay", "vale", "bueno", "bien"),
        *("claro", "claro que sí", "de acuerdo", "entiendo", "ya veo", "entendido", "exacto", "muy bien", "perfecto"),
        *("por supuesto", "eso es"),
    ),
    "it": (
        *("mm", "mhm", "hm", "eh", "ah", "oh", "sì", "si", "ok", "okay", "va bene", "bene", "certo", "capisco"),
        *("ho capito", "capito", "esatto", "giusto", "d'accordo", "perfetto", "ecco", "già", "ah sì"),
    ),
    "nl": (
        *(
            "mm",
            "mhm",
            "hm",
            "hmm",
            "uh",
            "uhm",
            "ah",
            "aha",
            "oh",
            "ja",
            "jaja",
            "ja ja",
            "jawel",
            "ok",
            "oké",
            "okay",
        ),
        *("goed", "prima", "precies", "klopt", "juist", "inderdaad", "ik snap het", "ik begrijp het", "begrepen"),
        *("jawel", "tuurlijk", "natuurlijk", "oh ja"),
    ),
    "tr": (
        *("hı", "hıhı", "hı hı", "hmm", "hm", "mm", "ee", "ah", "ha", "haa", "evet", "tamam", "peki", "olur", "doğru"),
        *("anladım", "anlıyorum", "tabii", "tabi", "elbette", "aynen", "ok", "güzel", "öyle mi", "iyi"),
    ),
}
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower().replace("\u2019", "'")))


def _beyond(words: tuple[str, ...], phrases: frozenset[tuple[str, ...]], longest: int) -> int:
    """How many of ``words`` no phrase covers, taking the longest phrase that fits at each place."""
    left = at = 0
    while at < len(words):
        taken = next((n for n in range(longest, 0, -1) if words[at : at + n] in phrases), 0)
        left += not taken
        at += taken or 1
    return left


class BargeIn:
    """Judges one utterance at a time: ``begin`` at its onset, then every frame and every word of it."""

    __slots__ = ("_longest", "_phrases", "_settings", "_sure", "_voiced")

    def __init__(self, settings: BargeInSettings, language: str = "en") -> None:
        self._settings = settings
        known = BACKCHANNELS.get(language.partition("-")[0].lower(), ())
        self._phrases = frozenset(map(_words, (*known, *settings.backchannels)))
        self._longest = max(map(len, self._phrases), default=0)
        self._sure = max(1, round(settings.sure / FRAME_SECONDS))
        self._voiced = 0

    def begin(self, voiced: int) -> None:
        """The agent has yielded to ``voiced`` frames of voice."""
        self._voiced = voiced

    def frame(self, voiced: bool) -> Verdict | None:
        """Account for the next frame."""
        self._voiced += voiced
        return Verdict.CONFIRM if self._voiced >= self._sure else None

    def words(self, text: str, *, final: bool) -> Verdict | None:
        """What a recogniser makes of the utterance so far, or (``final``) altogether."""
        if _beyond(_words(text), self._phrases, self._longest) >= self._settings.min_words:
            return Verdict.CONFIRM
        return Verdict.DISMISS if final else None
