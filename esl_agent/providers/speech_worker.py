"""The embedded voices' process: ``python -m esl_agent.providers.speech_worker``, fed by ``worker_pool``.

A request is one JSON message ``{"synthesiser": "flite" | "espeak", "voice": ..., "rate": ..., "speed": ...,
"pitch": ..., "text": ...}``. The answer is messages of a tag and a body, ``a`` with PCM16 mono or ``e`` with an error
in words, and the empty message. Text goes to the libraries as an argument of a C function: there is no shell, no
command line and no file name it could turn into.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any

from esl_agent.providers.messages import read_message, standard_streams, write_message

FLITE_LIBRARY = "libflite_cmu_us_{voice}.so.1"
#: Samples a second of flite's voices; ``kal16`` lives in the library of ``kal16``.
FLITE_RATES = {"kal": 8000, "kal16": 16000, "awb": 16000, "rms": 16000, "slt": 16000}
ESPEAK_RATE = 22050
#: Words a minute at which flite speaks by itself.
FLITE_SPEED = 170
_PIECE_BYTES = 32 * 1024

_ESPEAK_SYNCHRONOUS = 2
_ESPEAK_DONT_EXIT = 0x8000
_ESPEAK_UTF8 = 1
_ESPEAK_SPEED, _ESPEAK_PITCH = 1, 3
_ESPEAK_BUFFER_MS = 60


class Unspeakable(Exception):
    """What was asked for cannot be spoken; the message says why."""


class _FliteVoice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _FliteWave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class Flite:
    """flite 2.x by its library (Debian: libflite1)."""

    def __init__(self) -> None:
        self._flite: Any = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        # What the voices are linked against but, on Debian, do not name.
        for part in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            ctypes.CDLL(part, mode=ctypes.RTLD_GLOBAL)
        self._flite.flite_init()
        self._flite.flite_text_to_wave.restype = ctypes.POINTER(_FliteWave)
        self._flite.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._flite.delete_wave.argtypes = [ctypes.c_void_p]
        self._flite.flite_feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self._voices: dict[str, Any] = {}

    def _voice(self, name: str) -> Any:
        if name not in self._voices:
            library = ctypes.CDLL(FLITE_LIBRARY.format(voice=name))
            register = getattr(library, f"register_cmu_us_{name}")
            register.restype = ctypes.POINTER(_FliteVoice)
            register.argtypes = [ctypes.c_char_p]
            self._voices[name] = register(None)
        return self._voices[name]

    def speak(self, wanted: dict[str, Any], emit: Callable[[bytes], None]) -> None:
        voice = self._voice(wanted["voice"])
        stretch = FLITE_SPEED / wanted["speed"]
        self._flite.flite_feat_set_float(voice.contents.features, b"duration_stretch", stretch)
        # flite reads bytes of Latin letters only; what it has no sound for would be read as garbage.
        wave = self._flite.flite_text_to_wave(wanted["text"].encode("ascii", "ignore"), voice)
        if not wave:
            raise Unspeakable("flite made no sound")
        try:
            if wave.contents.sample_rate != wanted["rate"]:
                raise Unspeakable(f"flite spoke at {wave.contents.sample_rate} Hz, expected {wanted['rate']}")
            emit(ctypes.string_at(wave.contents.samples, wave.contents.num_samples * 2))
        finally:
            self._flite.delete_wave(wave)


class Espeak:
    """espeak-ng by its library; the wheel espeakng-loader carries library and data."""

    def __init__(self) -> None:
        import espeakng_loader

        self._espeak: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        path = espeakng_loader.get_data_path().encode()
        rate = self._espeak.espeak_Initialize(_ESPEAK_SYNCHRONOUS, _ESPEAK_BUFFER_MS, path, _ESPEAK_DONT_EXIT)
        if rate != ESPEAK_RATE:
            raise Unspeakable(f"espeak-ng offers {rate} Hz, expected {ESPEAK_RATE}")
        self._emit: Callable[[bytes], None] | None = None
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._took)
        self._espeak.espeak_SetSynthCallback(self._callback)

    def _took(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0 and self._emit is not None:
            self._emit(ctypes.string_at(samples, count * 2))
        return 0

    def speak(self, wanted: dict[str, Any], emit: Callable[[bytes], None]) -> None:
        names = dict.fromkeys((wanted["voice"], wanted["voice"].lower(), wanted["voice"].lower().split("-")[0]))
        if all(self._espeak.espeak_SetVoiceByName(name.encode()) != 0 for name in names):
            raise Unspeakable(f"espeak-ng has no voice {wanted['voice']!r}; `espeak-ng --voices` lists them")
        self._espeak.espeak_SetParameter(_ESPEAK_SPEED, wanted["speed"], 0)
        self._espeak.espeak_SetParameter(_ESPEAK_PITCH, wanted["pitch"], 0)
        text = wanted["text"].encode("utf-8", "ignore")
        self._emit = emit
        self._espeak.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _ESPEAK_UTF8, None, None)


def serve(read: IO[bytes], write: IO[bytes]) -> None:
    """Answer requests until the end of ``read``."""
    synthesisers: dict[str, Flite | Espeak] = {}

    def emit(pcm: bytes) -> None:
        for piece in _pieces(pcm):
            write_message(write, b"a" + piece)

    while (request := read_message(read)) is not None:
        wanted = json.loads(request)
        try:
            name = wanted["synthesiser"]
            if name not in synthesisers:
                synthesisers[name] = Flite() if name == "flite" else Espeak()
            synthesisers[name].speak(wanted, emit)
        except (Unspeakable, OSError, AttributeError) as error:  # OSError, AttributeError: a library or voice is absent
            write_message(write, b"e" + str(error).encode())
        write_message(write, b"")


def _pieces(pcm: bytes) -> Iterator[bytes]:
    for start in range(0, len(pcm), _PIECE_BYTES):
        yield pcm[start : start + _PIECE_BYTES]


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the agent died while we spoke
        serve(*standard_streams())
