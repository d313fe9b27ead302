"""Makes the MediaStream of each call: which kind, from the DID's settings and from what FreeSWITCH can do."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from esl_agent.config import DidConfig
from esl_agent.config.did import media_kind
from esl_agent.config.service import ServiceSettings
from esl_agent.errors import LegError
from esl_agent.legs.audio_fork import ForkSettings
from esl_agent.legs.audio_server import AudioServer
from esl_agent.legs.base import MediaStream, Post
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.freeswitch_media import FreeSwitchMedia
from esl_agent.legs.playout_clock import PlayoutClock
from esl_agent.legs.s1_listener import S1Listener
from esl_agent.legs.streaming_fork import StreamingForkMedia
from esl_agent.legs.unicast import UnicastMedia, UnicastOptions
from esl_agent.legs.unicast_ports import Ranges, UnicastPorts

log = logging.getLogger(__name__)

#: What a FreeSWITCH was found to have is believed for so many seconds.
KNOWN_SECONDS = 60.0
#: A call may last so much longer than its settings allow before a park ends it.
PARK_SLACK_SECONDS = 60
#: No dot either: a call that its switch names ``..`` must not have the folder above ours, which goes when it ends.
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


class MediaMaker:
    """One for the service. ``clips``: this process's directory for them."""

    def __init__(
        self,
        service: ServiceSettings,
        audio: AudioServer,
        s1: S1Listener | None,
        clips: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._audio = audio
        self._s1 = s1
        self._clips = clips
        shared = service.clips.shared_path
        self.clips_seen_as = f"{shared}/{clips.name}" if shared else str(clips)
        """The clip directory as FreeSWITCH sees it."""
        self._clock = clock
        self._has_fork: dict[str, tuple[float, bool]] = {}
        settings = service.unicast
        self.ports = UnicastPorts(
            Ranges(settings.listen, settings.advertised, settings.ports, settings.freeswitch_ports)
        )
        self.ticker = PlayoutClock()

    def make(self, leg: FreeSwitchLeg, did: DidConfig, post: Post) -> MediaStream:
        """Not in the reader: it may ask FreeSWITCH one thing. Raises LegError where the call can have no sound."""
        if self._kind(leg, did) == "unicast":
            return self._unicast(leg, did, post)
        return self._fork(leg, did, post)

    def _kind(self, leg: FreeSwitchLeg, did: DidConfig) -> Literal["audio_fork", "unicast"]:
        with_fork, without = (media_kind(did.media, has_fork) for has_fork in (True, False))
        return with_fork if with_fork == without or self._is_fork_loaded(leg) else without

    def _is_fork_loaded(self, leg: FreeSwitchLeg) -> bool:
        peer, now = leg.call.link.peer, self._clock()
        asked_at, answer = self._has_fork.get(peer, (-KNOWN_SECONDS, True))
        if now - asked_at >= KNOWN_SECONDS:
            try:
                answer = leg.call.api("module_exists", "mod_audio_fork").strip() != "false"
            except LegError as error:
                log.warning("call=%s cannot tell whether mod_audio_fork is loaded: %s", leg.id, error)
                return True
            self._has_fork[peer] = (now, answer)
            log.info("%s: media.kind auto is %s", peer, "audio_fork" if answer else "unicast")
        return answer

    def _fork(self, leg: FreeSwitchLeg, did: DidConfig, post: Post) -> MediaStream:
        audio, media = self._service.audio, did.media
        if media.playback == "stream":
            url = f"ws://{audio.advertised}"
            streamed = ForkSettings(url, media.rate, audio.connect_timeout, audio.reconnects, plays=True)
            return StreamingForkMedia(leg, self._audio, streamed, self.ticker, post)
        folder = self._clips / (_NOT_A_NAME.sub("_", leg.id) or "call")
        folder.mkdir(mode=0o755, exist_ok=True)
        fork = ForkSettings(
            f"ws://{audio.advertised}", media.rate, audio.connect_timeout, audio.reconnects, media.audio_fork
        )
        seen_as = f"{self.clips_seen_as}/{folder.name}"
        return FreeSwitchMedia(leg, self._audio, fork, folder, seen_as, post, media.playback, self._s1)

    def _unicast(self, leg: FreeSwitchLeg, did: DidConfig, post: Post) -> MediaStream:
        audio, limits = self._service.audio, did.cascade.limits
        options = UnicastOptions(
            did.media.rate,
            self._service.unicast.native,
            audio.connect_timeout,
            audio.reconnects,
            round(limits.call + limits.goodbye) + PARK_SLACK_SECONDS,
        )
        switch = self._service.unicast.freeswitch_host or _address_of(leg)
        return UnicastMedia(leg, options, lambda on_datagram: self.ports.take(switch, on_datagram), self.ticker, post)


def _address_of(leg: FreeSwitchLeg) -> str:
    """Where the call's event socket comes from. Raises LegError if that is no IPv4 address."""
    try:
        host = ipaddress.ip_address(leg.call.link.sock.getpeername()[0])
    except (OSError, ValueError):
        raise LegError("unicast: where FreeSWITCH is cannot be told; set unicast.freeswitch_host") from None
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is None:
            raise LegError(f"unicast knows IPv4 only and FreeSWITCH came from {host}; set unicast.freeswitch_host")
        host = host.ipv4_mapped
    return str(host)
