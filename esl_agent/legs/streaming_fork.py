"""Both directions of a call's sound over mod_audio_fork's WebSocket, as jambonz's build of the module has it.

Facts behind it (measured, and lws_glue.cpp ``processIncomingBinary`` and ``dub_speech_frame``):

- What we send replaces what the channel writes, so something must be written: ``send_silence_when_idle``, read when the
  channel's sound begins, that is before the answer; or, where the dialplan answered, a playback of silence without end.
- Sound is held back: the first 160 ms at 8 kHz (80 ms at 16 kHz), then half of that at a time. As silence is sent
  without a break, a frame is heard that much later throughout.
- ``stop_play`` empties what is ready to be played, but not what waits for its 80 ms to be full. So these are filled up
  with silence first, and again afterwards, or else the next sound would have no margin.
- ``killAudio`` would also break the playback of silence, after which nothing is heard any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from esl_agent.dialogue.events import CommandFailed, Event, MediaLost, MediaStarted, Played
from esl_agent.errors import LegError
from esl_agent.legs.audio_fork import BUG, AudioFork, ForkSettings
from esl_agent.legs.audio_server import AudioServer
from esl_agent.legs.base import Clip, Post
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.streamed_voice import StreamedVoice, Ticker
from esl_agent.wire import esl
from esl_agent.wire import esl_commands as commands

#: Samples the module collects before the first is played, and before each further lot (lws_glue.cpp).
FIRST_SAMPLES, LOT_SAMPLES = 1280, 640
#: The WebSocket's bytes are with the module by then; the event socket is another way, and may be quicker.
AHEAD_SECONDS = 0.01
#: Loudness of the silence that is written: noise divided by this, so next to nothing.
IDLE_NOISE = "400"


class StreamingForkMedia:
    """The MediaStream of a call whose FreeSWITCH has jambonz's mod_audio_fork. Make it before the call is answered."""

    streams = True

    def __init__(
        self,
        leg: FreeSwitchLeg,
        server: AudioServer,
        fork: ForkSettings,
        ticker: Ticker,
        post: Post,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = fork.rate
        self._call = leg.call
        self._post = post
        self._clock = clock
        self._held_back = FIRST_SAMPLES / fork.rate
        self._lot = bytes(LOT_SAMPLES * 2)
        self._fork = AudioFork(leg.call, server, fork, self._on_news, clock)
        self._ticker = ticker
        self._voice = StreamedVoice(fork.rate, ticker, self._send, self._on_voice, clock)
        self._starts: dict[tuple[int, int], float] = {}
        self._coming: deque[tuple[float, Event]] = deque()  # true when the caller hears it
        self._is_closed = False
        self._was_answered = (leg.call.session_data or {}).get("Answer-State") == "answered"
        if not self._was_answered:
            leg.setvar("send_silence_when_idle", IDLE_NOISE)
        leg.watch(self._on_event)

    def start(self) -> None:
        if self._was_answered:
            self._call.execute("playback", "silence_stream://-1", timeout=86400.0)
        self._fork.start()

    def play(self, clip: Clip) -> None:
        self._starts[clip.turn, clip.number] = clip.start
        self._voice.play(clip)

    def clear(self) -> None:
        """Silence: at once from us, and what the module holds is thrown away."""
        is_playing = bool(self._coming) or self._voice.is_busy
        self._voice.clear(fade=False)  # what came before it is thrown away by the module
        self._cut()
        if is_playing and self._fork.is_connected:
            self._fork.send(self._lot)
            self._call.link.deadlines.after(AHEAD_SECONDS, self._stop_play)

    def volume(self, gain: float) -> None:
        self._voice.volume(gain)

    def close(self) -> None:
        if not self._is_closed:
            self._fork.close()
            self._voice.close()
            self._cut()
            self._is_closed = True
            self._starts.clear()
            self._voice = StreamedVoice(self.rate, self._ticker, self._fork.send, self._post)  # does not hold us
            self._voice.close()

    def _send(self, frame: bytes) -> None:
        if self._fork.is_connected:
            self._fork.send(frame)
        else:
            self._voice.pause()

    def _stop_play(self) -> None:
        def replied(reply: esl.Reply | LegError) -> None:
            if isinstance(reply, LegError):
                self._post(CommandFailed("clear", f"uuid_audio_fork stop_play: {reply}; is it jambonz's build?"))
            self._fork.send(self._lot)

        if not self._is_closed:
            stop = commands.api("uuid_audio_fork", self._call.uuid or "", "stop_play", BUG)
            self._call.request(stop, on_reply=replied)

    def _on_news(self, event: Event) -> None:
        if isinstance(event, MediaLost):
            self._voice.pause()
        self._post(event)
        if isinstance(event, MediaStarted):
            self._voice.open()

    def _on_voice(self, event: Event) -> None:
        """What left us is heard later, and told then."""
        if self._is_closed:
            self._post(event)
            return
        self._coming.append((self._clock() + self._held_back, event))
        self._call.link.deadlines.after(self._held_back, self._tell_due)

    def _tell_due(self) -> None:
        now = self._clock() + 1e-6
        while self._coming and self._coming[0][0] <= now:
            self._post(self._coming.popleft()[1])

    def _cut(self) -> None:
        """What was still to be heard never is: clips that were to begin have not, and those that ended ended sooner."""
        now, coming = self._clock(), list(self._coming)
        self._coming.clear()
        for due, event in coming:
            if isinstance(event, Played):
                start = self._starts.get((event.turn, event.clip), 0.0)
                self._post(Played(event.turn, event.clip, max(start, event.heard - max(0.0, due - now))))

    def _on_event(self, event: esl.Event) -> None:
        if event.name == "CUSTOM":
            self._fork.on_event(event)
