"""Fixed phrases on disk: after a restart they are read, not synthesised again. WAV files an operator can listen to.

A file is named after the hash of (format, voice, rate, text), and its first bytes say the same once more with the
sum of its sound: what does not begin so (cut short, damaged, somebody else's) is as good as not there and is
replaced. Files are written aside, synced and renamed; several processes may share the directory. The file's time of
change is when it was last used: noatime mounts keep no other.

Everything here blocks and logs nothing. It is called while phrases are prepared, in threads of the hub's pool, never
by a call.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from esl_agent.audio.pcm import Sound

#: Part of every name: a file of another format is another file. A change of what workers.speak does to a voice's sound
#: needs another number.
FORMAT = "esl_agent speech 1"
#: What a killed process left half-written is removed after so many seconds.
LEFTOVER_SECONDS = 3600.0
#: Larger files are not ours: a phrase is a minute at most (workers.MAX_CLIP_SECONDS).
MAX_FILE_BYTES = 16 * 1024 * 1024
#: When the limit is passed, room is made for this share of it, so that not every new phrase has to look for some.
ROOM = 0.1

_OURS = re.compile(r"[0-9a-f]{40}\.wav")
_LEFTOVER = re.compile(r"[0-9a-f]{40}\.[0-9a-f]{8}\.part")


class SpeechStore:
    """At most ``max_bytes`` of sound in ``directory``; the least recently used goes first. Several threads may use it:
    what it counts between two looks at the directory is a guess."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._bytes = 0

    def open(self) -> None:
        """Make the directory, remove leftovers and what is over the limit. Raises OSError if it cannot be used."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._trim(self._max_bytes)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def get(self, voice: str, rate: int, text: str) -> Sound | None:
        """The sound of ``text``, if it is there and whole. Never raises OSError."""
        path = self._path(voice, rate, text)
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_FILE_BYTES)
            os.utime(path)
        except OSError:
            return None
        pcm = content[len(_head(voice, rate, text, b"")) :]
        if not pcm or content[: -len(pcm)] != _head(voice, rate, text, pcm):
            return None
        return Sound(pcm, rate)

    def put(self, voice: str, text: str, sound: Sound) -> None:
        """Keep it; what was there under the same name is replaced. Raises OSError."""
        content = _head(voice, sound.rate, text, sound.pcm) + sound.pcm
        if len(content) > min(self._max_bytes, MAX_FILE_BYTES):
            return
        path = self._path(voice, sound.rate, text)
        aside = path.with_suffix(f".{secrets.token_hex(4)}.part")
        try:
            _write(aside, content)
            aside.replace(path)
            self._bytes += len(content)
            if self._bytes > self._max_bytes:
                self._trim(int(self._max_bytes * (1 - ROOM)))
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, voice: str, rate: int, text: str) -> Path:
        key = "\0".join((FORMAT, voice, str(rate), text))
        return self.directory / f"{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:40]}.wav"

    def _trim(self, most: int) -> None:
        """Remove leftovers, and the least recently used files until at most ``most`` bytes are left. Files that are
        not ours by their names stay and do not count. Raises OSError if the directory cannot be read."""
        ours: list[tuple[float, int, str]] = []
        with os.scandir(self.directory) as entries:
            for entry in entries:
                with suppress(OSError):  # another process removed it just now
                    if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        found = entry.stat(follow_symlinks=False)
                        ours.append((found.st_mtime, found.st_size, entry.path))
                    elif _LEFTOVER.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > LEFTOVER_SECONDS:
                        os.unlink(entry.path)
        self._bytes = sum(size for _, size, _ in ours)
        for _, size, path in sorted(ours):
            if self._bytes <= most:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            self._bytes -= size


def store_directory(configured: str, environment: Mapping[str, str]) -> Path | None:
    """Where phrases are kept: ``configured``; for ``auto`` what systemd made for us (``CacheDirectory=``), else the
    user's cache directory (XDG base directories); None for empty: nowhere, or for a user without a home."""
    if configured != "auto":
        return Path(configured) if configured else None
    if made := environment.get("CACHE_DIRECTORY", "").partition(":")[0]:
        return Path(made)
    if base := environment.get("XDG_CACHE_HOME"):
        return Path(base) / "esl_agent"
    home = environment.get("HOME")
    return Path(home) / ".cache" / "esl_agent" if home else None


def _head(voice: str, rate: int, text: str, pcm: bytes) -> bytes:
    """The file up to its first sample: RIFF, the format, who says what (LIST INFO: software, source, comment), the
    length. Its own length depends on voice and text alone."""
    facts = b"".join(
        _chunk(name, words.encode("utf-8", "replace") + b"\0")
        for name, words in ((b"ISFT", f"{FORMAT} {zlib.crc32(pcm):08x}"), (b"ISRC", voice), (b"ICMT", text))
    )
    kind = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16))
    body = b"WAVE" + kind + _chunk(b"LIST", b"INFO" + facts) + b"data" + struct.pack("<I", len(pcm))
    return b"RIFF" + struct.pack("<I", len(body) + len(pcm)) + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _write(path: Path, content: bytes) -> None:
    """A new file with ``content``, on the disk: after a power cut a renamed file may else be empty."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
