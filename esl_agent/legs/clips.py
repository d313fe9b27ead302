"""The agent's voice as files: one clause, one WAV, one ``playback``.

FreeSWITCH plays files and nothing else without a third-party module. Facts behind every line (measured,
FreeSWITCH 1.11): ``event-lock`` makes playbacks follow each other instead of nesting; ``uuid_break ... all`` stops
what plays within 20 ms and discards what is queued *without any event*; what was heard is
``variable_playback_last_offset_pos`` and nothing else, in samples of the call's codec rate whatever the file's rate; a
missing file ends at once with ``FILE NOT FOUND``.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esl_agent.audio.pcm import Sound
from esl_agent.dialogue.events import CommandFailed, PlaybackBegan, Played
from esl_agent.errors import LegError
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.esl_call import EslCall
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

log = logging.getLogger(__name__)

#: The header that PLAYBACK_START and PLAYBACK_STOP carry back to us: ``{esl_clip=3-0}`` before the file.
TAG = "esl_clip"
#: After a break, how long reports of clips may take; those without any by then were discarded unheard.
BREAK_SECONDS = 0.5
#: A playback may take this much longer than its clip before it counts as lost.
SLACK_SECONDS = 5.0
#: A playback that ended by itself this close to its end was heard whole: a resampler keeps back its last samples.
ROUNDING_SECONDS = 0.1
#: A directory younger than this is left alone: its owner may not have locked it yet.
YOUNG_SECONDS = 5.0

_OURS = re.compile(r"[0-9]+-[0-9a-f]{8}")
#: Directories of this process, and the descriptors whose locks say that it lives.
_held: dict[Path, int] = {}


@dataclass(slots=True)
class _Outstanding:
    clip: Clip
    sound: Sound
    path: Path
    key: str
    began_at: float | None = None
    heard: float | None = None


class ClipPlayer:
    """Plays the clips of one call. ``folder`` is the call's own; ``seen_as`` the same as FreeSWITCH sees it.

    Lives on the call's greenlet and the event socket's reader; nothing here blocks but the write of a small file to
    tmpfs.
    """

    def __init__(
        self,
        call: EslCall,
        folder: Path,
        seen_as: str,
        post: Post,
        clock: Callable[[], float],
        mode: Literal["clips", "broadcast"] = "clips",
    ) -> None:
        self._call = call
        self._folder = folder
        self._seen_as = seen_as
        self._post = post
        self._clock = clock
        self._mode = mode
        self._outstanding: dict[str, _Outstanding] = {}
        self._cleared: set[str] = set()
        self._played: set[tuple[int, int]] = set()
        self._again = 0
        self._is_closed = False

    def play(self, clip: Clip) -> None:
        """Write the clip and queue its playback; exactly one Played will be posted for it."""
        key = self._key_of(clip)
        name = f"{key}.wav"
        item = self._outstanding[key] = _Outstanding(clip, rest_of(clip), self._folder / name, key)
        try:
            write_clip(item.path, item.sound)
        except OSError as error:
            self._failed(item, f"cannot write {item.path}: {error.strerror}")
            return
        argument = commands.Trusted(f"{{{TAG}={key}}}{self._seen_as}/{name}")
        timeout = sum(each.sound.seconds for each in self._outstanding.values()) + SLACK_SECONDS
        if self._mode == "broadcast":
            uuid = self._call.uuid or ""
            self._call.request(
                commands.api("uuid_broadcast", uuid, argument, "aleg"),
                on_reply=lambda reply: self._failed(item, str(reply)) if isinstance(reply, LegError) else None,
            )
            self._call.link.deadlines.after(timeout, lambda: self._finish(item, 0.0))
            return
        self._call.execute(
            "playback",
            argument,
            event_uuid=f"{self._call.uuid}:{key}",
            lock=True,
            timeout=timeout,
            on_done=lambda result: self._done(item, result),
        )

    def _key_of(self, clip: Clip) -> str:
        """A name of its own for every playing: a clip taken up again must not be taken for the one that was cut."""
        key = f"{clip.turn}-{clip.number}"
        if (clip.turn, clip.number) not in self._played:
            self._played.add((clip.turn, clip.number))
            return key
        self._again += 1
        return f"{key}-{self._again}"

    def clear(self) -> None:
        """Silence now. What is not reported within a bounded wait was discarded by FreeSWITCH, unheard."""
        waiting = list(self._outstanding.values())
        if not waiting or self._is_closed:
            return
        stopped_at = self._clock()
        self._cleared = {item.key for item in waiting}
        self._break("all")
        self._call.link.deadlines.after(BREAK_SECONDS, lambda: self._give_up(waiting, stopped_at))

    def on_event(self, event: esl.Event) -> None:
        """PLAYBACK_START and PLAYBACK_STOP of this call, in the reader."""
        key = event.headers.get(TAG, "")
        if event.name == "PLAYBACK_START" and key in self._cleared:
            self._break()  # the start of an application clears a break that came just before (capture 14)
        item = self._outstanding.get(key)
        if item is None:
            return
        if event.name == "PLAYBACK_START":
            item.began_at = self._clock()
            self._post(PlaybackBegan(item.clip.turn, item.clip.number))
        elif event.name == "PLAYBACK_STOP":
            item.heard = heard_seconds(event, item.sound)
            if self._mode == "broadcast":
                self._finish(item, item.heard)

    def close(self) -> None:
        """Remove every file. Clips still outstanding are reported as far as known."""
        self._is_closed = True
        for item in list(self._outstanding.values()):
            self._finish(item, item.heard or 0.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _break(self, *words: str) -> None:
        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError):
                self._post(CommandFailed("clear", str(reply)))

        self._call.request(commands.api("uuid_break", self._call.uuid or "", *words), on_reply=replied)

    def _done(self, item: _Outstanding, result: esl.Event | LegError) -> None:
        if isinstance(result, LegError):
            if not self._is_closed and item.key in self._outstanding:
                log.info("call %s clip %s: %s", self._call.uuid, item.key, result)
            self._finish(item, item.heard or 0.0)
            return
        response = result.headers.get("Application-Response", "")
        if item.began_at is None and item.heard is None and response != "FILE PLAYED":
            self._failed(item, f"{response or 'no answer'}: {self._seen_as}/{item.path.name}")
        elif item.heard is None:
            self._finish(item, heard_seconds(result, item.sound))
        else:
            self._finish(item, item.heard)

    def _failed(self, item: _Outstanding, why: str) -> None:
        if item.key in self._outstanding:
            self._post(CommandFailed("play", why))
            self._finish(item, 0.0)

    def _finish(self, item: _Outstanding, heard: float) -> None:
        if self._outstanding.get(item.key) is not item:
            return
        del self._outstanding[item.key]
        item.path.unlink(missing_ok=True)
        self._post(Played(item.clip.turn, item.clip.number, item.clip.start + heard))

    def _give_up(self, waiting: list[_Outstanding], stopped_at: float) -> None:
        for item in waiting:
            heard = item.heard
            if heard is None:
                heard = 0.0 if item.began_at is None else max(0.0, stopped_at - item.began_at)
            self._finish(item, min(heard, item.sound.seconds))


def rest_of(clip: Clip) -> Sound:
    """What a clip still has to say: its sound from ``start`` on."""
    rate = clip.audio.rate
    return Sound(bytes(clip.audio.pcm[round(clip.start * rate) * 2 :]), rate)


def heard_seconds(event: esl.Event, sound: Sound) -> float:
    """What was heard of a clip, from its PLAYBACK_STOP or CHANNEL_EXECUTE_COMPLETE.

    ``Playback-Status`` does not tell: a hang-up in the middle says ``done`` too (capture 17). The position counts
    samples after resampling to the call's rate (switch_ivr_play_say.c, switch_core_file.c; measured with 8, 16 and
    22.05 kHz files on a PCMU call).
    """
    rate = _number(event.headers.get("Channel-Read-Codec-Rate")) or sound.rate
    position = _number(event.headers.get("variable_playback_last_offset_pos"))
    heard = min(max(0, position or 0) / rate, sound.seconds)
    if event.headers.get("Playback-Status") == "done" and (
        position is None or sound.seconds - heard <= ROUNDING_SECONDS
    ):
        return sound.seconds
    return heard


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def write_clip(path: Path, sound: Sound) -> None:
    """Write aside and rename: FreeSWITCH never opens half a file. Raises OSError, and leaves nothing behind then."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sound.rate)
        out.writeframes(sound.pcm)
    aside = path.with_suffix(".part")
    try:
        aside.write_bytes(buffer.getvalue())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def clip_directory(configured: str) -> Path:
    """A directory of this process's own for clips, below ``configured`` or, if that fails, the system's temporary one.

    Several services may share ``configured``, in containers too, where process numbers mean nothing to each other: each
    holds a lock on its directory as long as it lives, and what nobody holds was left by a killed one and is removed.
    """
    for base in (Path(configured), Path(tempfile.gettempdir()) / "esl_agent"):
        try:
            base.mkdir(mode=0o755, parents=True, exist_ok=True)
            path = base / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o755)
            _held[path] = _locked(path)
        except OSError as error:
            log.warning("clips: cannot use %s: %s", base, error.strerror)
            continue
        for left in base.iterdir():
            if _OURS.fullmatch(left.name):
                _remove_if_left(left)
        return path
    raise LegError(f"clips: neither {configured} nor the temporary directory can be written")


def remove_clip_directory(path: Path) -> None:
    """Remove what ``clip_directory`` made, with everything in it. Idempotent, never raises."""
    shutil.rmtree(path, ignore_errors=True)
    if (descriptor := _held.pop(path, None)) is not None:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A descriptor that holds the lock on a directory. Raises OSError, BlockingIOError if another one holds it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_left(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime < YOUNG_SECONDS:
            return
        descriptor = _locked(path)
    except OSError:
        return
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)
