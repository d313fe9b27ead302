"""The voice of a FreeSWITCH call with mod_audio_fork: the caller's sound over its WebSocket, the agent's as files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from esl_agent.legs.audio_fork import AudioFork, ForkSettings
from esl_agent.legs.audio_server import AudioServer
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.clips import ClipPlayer
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.s1_listener import S1Listener
from esl_agent.wire import esl


class FreeSwitchMedia:
    """The voice of one FreeSWITCH call: sound in through mod_audio_fork, clips out through playback."""

    def __init__(
        self,
        leg: FreeSwitchLeg,
        server: AudioServer,
        fork: ForkSettings,
        folder: Path,
        seen_as: str,
        post: Post,
        playback: Literal["clips", "broadcast"] = "clips",
        s1: S1Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = fork.rate
        self.streams = False
        self._fork = AudioFork(leg.call, server, fork, post, clock, s1)
        self._clips = ClipPlayer(leg.call, folder, seen_as, post, clock, playback)
        leg.watch(self._on_event)

    def start(self) -> None:
        self._fork.start()

    def play(self, clip: Clip) -> None:
        self._clips.play(clip)

    def clear(self) -> None:
        self._clips.clear()

    def volume(self, gain: float) -> None:
        """A file plays as loud as it is."""

    def close(self) -> None:
        self._fork.close()
        self._clips.close()

    def _on_event(self, event: esl.Event) -> None:
        if event.name in ("PLAYBACK_START", "PLAYBACK_STOP"):
            self._clips.on_event(event)
        elif event.name == "CUSTOM":
            self._fork.on_event(event)
