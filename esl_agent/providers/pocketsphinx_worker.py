"""The embedded recogniser's process: ``python -m esl_agent.providers.pocketsphinx_worker``, fed by ``worker_pool``.

A request is a JSON line ``{"rate": 8000, "phrases": [...]}`` followed by the utterance as PCM16 mono. The answer is
one JSON message ``{"text": ..., "confidence": ..., "skipped": [...]}`` and the empty message.

With phrases, the utterance is decoded twice: by a grammar of exactly these phrases, and by a loop of all phones.
Where one of the phrases was said, its words score nearly as well as the free phones; where anything else was said
they score far worse. docs/decisions/embedded-engines.md has the measurements.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from pocketsphinx import Decoder, get_model_path

from esl_agent.providers.messages import read_message, standard_streams, write_message

RATE = 16000
#: How much worse than free phones, per 10 ms, the words of a phrase are when the confidence is 0.
SCORE_SPAN = 50.0
#: Less of the voiced time than this explained by the phrase's words: something else was said as well.
MIN_COVERAGE = 0.85
#: Phrases of MIN_WORDS_TO_PACE words and more are spoken at less than this many 10 ms steps a phone; a phrase that is
#: stretched further was laid over something longer.
MAX_PACE = 15.0
MIN_WORDS_TO_PACE = 3
#: Grammars kept ready; a DID needs one.
MAX_GRAMMARS = 64

# Cepstral means of speech at LEVEL in the telephone band and in the wide band. Short utterances hold too little
# speech to find their own mean, so recognition starts from these.
_MEANS = {
    "telephone": "41.7,28.7,-33.5,35.4,-21.5,-15.7,10.2,-31.4,2.6,-11.5,-15.0,5.9,-14.8",
    "wide": "44.7,0.9,10.0,2.2,-4.4,2.0,-1.1,0.4,5.8,2.2,-3.3,3.8,-2.6",
}
#: Root mean square that voiced sound is brought to, 0..32768.
LEVEL = 3000.0
_MAX_GAIN = 30.0
_BLOCK = RATE // 50
_MARGIN_BLOCKS = 10

_DIGITS = {
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
}
# pocketsphinx turns its integer scores into probabilities (x 1.0001 ** score); grammar scores carry 10 more bits.
_LOG_BASE = math.log(1.0001)
_GRAMMAR_SHIFT = 1024


@dataclass(frozen=True, slots=True)
class Understood:
    text: str
    confidence: float | None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Grammar:
    name: str
    phrases: dict[str, str]
    """Words as the decoder spells them -> the phrase as the operator wrote it."""
    skipped: tuple[str, ...]
    """Phrases with a word that the dictionary lacks."""


def spelling(phrase: str) -> str:
    """``phrase`` in the dictionary's spelling: lower-case words of letters and apostrophes, digits as words."""
    words = re.findall(r"[a-z][a-z']*|[0-9]", phrase.lower().replace("\u2019", "'"))
    return " ".join(_DIGITS.get(word, word) for word in words)


def prepared(pcm: bytes, rate: int) -> tuple[bytes, int]:
    """(the voiced part at 16 kHz and an even level, its length in 10 ms steps); empty if there is only silence."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    if not len(blocks):
        return b"", 0
    levels = np.sqrt((blocks**2).mean(axis=1)) + 1.0
    loudest = float(np.max(levels))
    # Voiced: three times the quietest tenth (the line's own noise), and less than 34 dB below the loudest.
    voiced = np.nonzero(levels > max(np.percentile(levels, 10) * 3.0, loudest * 0.02))[0]
    if not len(voiced) or loudest < 20.0:
        return b"", 0
    first, last = max(0, voiced[0] - _MARGIN_BLOCKS), min(len(blocks), voiced[-1] + 1 + _MARGIN_BLOCKS)
    gain = min(LEVEL / float(np.sqrt((blocks[voiced] ** 2).mean())), _MAX_GAIN)
    part = blocks[first:last].reshape(-1) * gain
    return np.clip(part, -32768, 32767).astype("<i2").tobytes(), len(voiced) * 2


class Recogniser:
    """One decoder and its grammars. Holds the GIL while it works: never use it in the process that answers calls."""

    def __init__(self) -> None:
        model = get_model_path()
        # The model's feat.params override whatever the caller sets, so they are given here instead: the model's own
        # values, but with a running mean (which takes a starting value) and without noise removal.
        self._decoder: Any = Decoder(
            hmm=f"{model}/en-us/en-us",
            dict=f"{model}/en-us/cmudict-en-us.dict",
            lm=None,
            loglevel="FATAL",
            featparams="/dev/null",
            lowerf=130,
            upperf=6800,
            nfilt=25,
            transform="dct",
            lifter=22,
            feat="1s_c_d_dd",
            svspec="0-12/13-25/26-38",
            agc="none",
            cmn="live",
            varnorm=False,
            remove_noise=False,
        )
        self._language_model = f"{model}/en-us/en-us.lm.bin"
        self._has_language_model = False
        self._grammars: dict[tuple[str, ...], _Grammar] = {}
        self._decoder.add_allphone_file("phones", None)

    def recognise(self, pcm: bytes, rate: int, phrases: Sequence[str]) -> Understood:
        """What was said in ``pcm``: one of ``phrases``, or nothing; without phrases whatever it sounds like."""
        grammar = self._grammar(tuple(phrases)) if phrases else None
        skipped = grammar.skipped if grammar else ()
        sound, voiced = prepared(pcm, rate)
        if not sound or (grammar and not grammar.phrases):
            return Understood("", None, skipped)
        mean = _MEANS["telephone" if rate < RATE else "wide"]
        if grammar is None:
            return self._dictate(sound, mean)
        words = self._decode(grammar.name, sound, mean)
        if words not in grammar.phrases:
            mean = self._decoder.get_cmn(True)  # once more, starting from what this line and voice turned out to be
            words = self._decode(grammar.name, sound, mean)
        if words not in grammar.phrases:
            return Understood("", 0.0, skipped)
        segments = [
            (s.start_frame, s.end_frame, _score(s.ascore) / _GRAMMAR_SHIFT)
            for s in self._decoder.seg()
            if not s.word.startswith(("<", "["))
        ]
        self._decode("phones", sound, mean)
        phones = [(s.start_frame, s.end_frame, _score(s.ascore)) for s in self._decoder.seg()]
        frames = sum(end - start + 1 for start, end, _ in segments)
        if frames < MIN_COVERAGE * voiced or self._is_stretched(words, frames):
            return Understood("", 0.0, skipped)
        behind = sum(_score_between(phones, start, end) - score for start, end, score in segments) / frames
        return Understood(grammar.phrases[words], round(min(1.0, max(0.0, 1.0 - behind / SCORE_SPAN)), 3), skipped)

    def _is_stretched(self, words: str, frames: int) -> bool:
        spoken = words.split()
        phones = sum(len(self._decoder.lookup_word(word).split()) for word in spoken)
        return len(spoken) >= MIN_WORDS_TO_PACE and frames > MAX_PACE * phones

    def _dictate(self, sound: bytes, mean: str) -> Understood:
        if not self._has_language_model:
            self._decoder.add_lm_file("language", self._language_model)
            self._has_language_model = True
        return Understood(self._decode("language", sound, mean), None)

    def _decode(self, search: str, sound: bytes, mean: str) -> str:
        self._decoder.activate_search(search)
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()
        # Not as a whole utterance (full_utt): pocketsphinx 5.1.1 was seen to crash when the two kinds are mixed.
        self._decoder.process_raw(sound, False, False)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""

    def _grammar(self, phrases: tuple[str, ...]) -> _Grammar:
        if phrases not in self._grammars:
            if len(self._grammars) >= MAX_GRAMMARS:
                oldest = next(iter(self._grammars))
                if self._grammars[oldest].phrases:
                    self._decoder.remove_search(self._grammars[oldest].name)
                del self._grammars[oldest]
            self._grammars[phrases] = self._new_grammar(phrases)
        return self._grammars[phrases]

    def _new_grammar(self, phrases: tuple[str, ...]) -> _Grammar:
        known: dict[str, str] = {}
        skipped = []
        for phrase in phrases:
            words = spelling(phrase)
            if words and all(self._decoder.lookup_word(word) for word in words.split()):
                known.setdefault(words, phrase)
            else:
                skipped.append(phrase)
        name = f"grammar{hash(phrases)}"
        if known:
            # Only letters, apostrophes and spaces: nothing here can mean anything to JSGF.
            self._decoder.add_jsgf_string(name, f"#JSGF V1.0;\ngrammar did;\npublic <said> = {' | '.join(known)};\n")
        return _Grammar(name, known, tuple(skipped))


def _score(probability: float) -> float:
    return math.log(probability) / _LOG_BASE if probability > 0.0 else -1e9


def _score_between(segments: list[tuple[int, int, float]], first: int, last: int) -> float:
    """The score of the frames ``first``..``last``, taking each segment's score as spread evenly over it."""
    total = 0.0
    for start, end, score in segments:
        shared = min(end, last) - max(start, first) + 1
        if shared > 0:
            total += score * shared / (end - start + 1)
    return total


def main() -> None:
    read, write = standard_streams()
    recogniser = Recogniser()
    while (request := read_message(read)) is not None:
        head, _, pcm = request.partition(b"\n")
        wanted = json.loads(head)
        found = recogniser.recognise(pcm, wanted["rate"], wanted["phrases"])
        answer = {"text": found.text, "confidence": found.confidence, "skipped": found.skipped}
        write_message(write, json.dumps(answer).encode())
        write_message(write, b"")


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the agent died while we listened
        main()
