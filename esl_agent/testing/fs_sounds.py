"""What the argument of ``playback`` sounds like: files, tones, silence and strings of them. Pure: files are loaded
by the function it is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esl_agent.audio.pcm import Sound

#: Path -> its sound at any rate, or None if there is no such file.
Load = Callable[[str], Sound | None]

#: Seconds that stand for ``silence_stream://-1``.
ENDLESS = 86400.0
_PARAMS = re.compile(r"^\{([^}]*)\}")
_TONE = re.compile(r"%\((\d+),(\d+)((?:,\d+)+)\)")


@dataclass(frozen=True, slots=True)
class Playable:
    """``seconds`` long; ``sound`` is None for silence. ``params`` are the ``{name=value}`` before the file."""

    path: str
    params: tuple[tuple[str, str], ...]
    file_type: str
    seconds: float
    sound: Sound | None


def resolve(argument: str, load: Load) -> Playable | None:
    """The sound of a playback argument, or None for FILE NOT FOUND."""
    params: tuple[tuple[str, str], ...] = ()
    match = _PARAMS.match(argument)
    path = argument
    if match:
        pairs = (item.partition("=") for item in match[1].split(","))
        params = tuple((name.strip(), value.strip()) for name, equals, value in pairs if equals)
        path = argument[match.end() :]
    parts = path[len("file_string://") :].split("!") if path.startswith("file_string://") else [path]
    sounds = [_one(part, load) for part in parts]
    found = [sound for sound in sounds if sound is not None]
    if not found:
        return None
    seconds = sum(length for length, _ in found)
    heard = [sound for _, sound in found if sound is not None]
    return Playable(argument, params, _file_type(path), seconds, _join(heard))


def _file_type(path: str) -> str:
    return path.partition("://")[0] if "://" in path else "file"


def _one(part: str, load: Load) -> tuple[float, Sound | None] | None:
    if part.startswith("silence_stream://"):
        milliseconds = part[len("silence_stream://") :].partition(",")[0]
        return (ENDLESS if milliseconds == "-1" else int(milliseconds or 0) / 1000), None
    if part.startswith("tone_stream://"):
        sound = _tones(part)
        return (sound.seconds, sound) if sound else None
    path, _, start = part.partition("@@")
    loaded = load(path)
    if loaded is None:
        return None
    if start.isdigit():
        loaded = Sound(loaded.pcm[int(start) * 2 :], loaded.rate)
    return loaded.seconds, loaded


def _tones(spec: str) -> Sound | None:
    """``tone_stream://L=2;%(on,off,hz[,hz])``: milliseconds on and off, at 8 kHz."""
    loops = re.search(r"L=(\d+)", spec) or re.search(r"loops=(\d+)", spec)
    parts = []
    for on, off, pitches in _TONE.findall(spec):
        time = np.arange(int(on) * 8) / 8000
        waves = [np.sin(2 * np.pi * int(pitch) * time) for pitch in pitches.split(",")[1:]]
        parts.append((np.sum(waves, axis=0) * (8000 / len(waves))).astype("<i2").tobytes() + bytes(int(off) * 16))
    return Sound(b"".join(parts) * int(loops[1] if loops else 1), 8000) if parts else None


def _join(sounds: list[Sound]) -> Sound | None:
    if not sounds:
        return None
    rate = sounds[0].rate
    return Sound(b"".join(sound.pcm for sound in sounds if sound.rate == rate), rate)
