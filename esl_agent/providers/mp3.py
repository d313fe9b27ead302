"""MP3, for services and plans that have nothing else: pydub, which runs ffmpeg. A pipe to another process, so that the
hub goes on; but no sound before the last byte is there, and a process for each answer."""

from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Callable

from esl_agent.errors import ProviderError

#: Seconds that are decoded: at 8 kbit/s a few megabytes would be hours, and a gigabyte of samples.
LONGEST = 125
MISSING = "MP3 needs ffmpeg, which is not installed (Debian: apt install ffmpeg); or ask for another format"


def is_mp3(data: bytes) -> bool:
    """Whether ``data`` begin with an ID3 tag or a frame of MPEG layer III."""
    return data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2)


def is_ready() -> bool:
    """Whether ffmpeg is installed."""
    return shutil.which("ffmpeg") is not None


def decoded(data: bytes, failure: Callable[..., ProviderError]) -> tuple[bytes, int]:
    """(PCM16 mono, its rate). Raises what ``failure`` makes. Blocks cooperatively."""
    if not is_ready():
        raise failure(MISSING, retryable=False, blame="setup")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydub's own: its regular expressions, the age of audioop
        from pydub import AudioSegment
        from pydub.exceptions import CouldntDecodeError
    try:
        # The codec is named so that ffmpeg does not guess, and ffprobe is not run.
        sound = AudioSegment.from_file(io.BytesIO(data), format="mp3", codec="mp3", duration=LONGEST)
    except (CouldntDecodeError, OSError) as error:
        told = str(error).strip().splitlines()[-1:]
        raise failure(f"an MP3 that cannot be decoded: {' '.join(told)}") from None
    sound = sound.set_channels(1).set_sample_width(2)
    return bytes(sound.raw_data), int(sound.frame_rate)
