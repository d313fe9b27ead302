"""A call of Asterisk's is handed over warm: somebody is called, hears what it is about and decides, all beside the
caller, who has the agent's line meanwhile and hears it ring.

    RINGING     the callee's phone rings
    BRIEFING    answered: our line with the callee plays the briefing, and brings the key
    CONNECTING  1 was pressed: Asterisk is asked to let the two talk
    OVER

How Asterisk rings, and connects, is the Control's (AMI, ARI); all else is here. Whatever goes wrong before CONNECTING
leaves the caller where he is. An agent that dies takes its line with the callee along, which hangs up on the callee.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from gevent.event import Event as Flag

from esl_agent.audio.pcm import Sound
from esl_agent.audio.ring_back import USUAL, ring_back
from esl_agent.dialogue.events import Event
from esl_agent.errors import LegError
from esl_agent.legs.asterisk import Callee, Control
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_media import AudioSocketMedia
from esl_agent.legs.base import Clip
from esl_agent.legs.briefings import Briefings
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, OutboundNews
from esl_agent.legs.ring_back import RingBack
from esl_agent.legs.transfer import DECIDES_SECONDS, twice

log = logging.getLogger(__name__)

#: After the answer our line is there within this (seen: 10 ms, and half a second more if the callee sends no sound).
LINE_SECONDS = 3.0
#: Two people are connected within this, or not at all. With the ring time, its grace, the line and the briefing that is
#: less than the dialogue waits: it must not speak while it still rings.
CONNECT_SECONDS = 5.0
#: How long it rings where the dial string does not say.
RINGS_SECONDS = 25.0
#: The callee may be silent: that ends no briefing.
_QUIET = 3600.0

_TARGET = re.compile(r"(?:\{leg_timeout=(\d{1,3})\})?([A-Z][A-Za-z0-9]{1,15}/[A-Za-z0-9@._:+-]{1,120})")
#: Technologies that reach no telephone: our own lines, and channels that are made of two.
_NO_TELEPHONE = ("Local/", "AudioSocket/", "WebSocket/", "Bridge", "Announcer/", "Recorder/", "Snoop/")
#: Reasons of a call that nobody took, and what a caller is told; anything else is ``unreachable``.
_REASONS = ("busy", "declined", "no_answer")

_NO_LINE = (
    "whoever was called answered, but no line came to our AudioSocket server; see [ai-briefing] of extensions.conf and "
    "asterisk.audiosocket.advertise"
)

#: Told how it ended: empty, the two talk; else a reason of TransferFailed.
Ended = Callable[[str], None]


class _State(Enum):
    RINGING = auto()
    BRIEFING = auto()
    CONNECTING = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a warm transfer calls, as Asterisk writes it, and how many seconds it rings."""

    endpoint: str
    seconds: float


def target_of(dial: str) -> Target:
    """A destination's ``dial`` with its ring time before it. Raises LegError for what Asterisk cannot dial."""
    found = _TARGET.fullmatch(dial)
    if found is None or found[2].startswith(_NO_TELEPHONE):
        raise LegError(
            f"{dial[:80]!r} is nothing that Asterisk dials; a destination's dial is here PJSIP/1002, or "
            "PJSIP/4930123@trunk where trunk is a section of pjsip.conf"
        )
    return Target(found[2], float(found[1] or RINGS_SECONDS))


class WarmTransfer:
    """Warm transfers of one call, one at a time. Implements ``legs.asterisk.Warm``."""

    def __init__(self, call: str, control: Control, briefings: Briefings, ring: RingBack) -> None:
        self.tone = USUAL
        """``transfer.ringback`` of the DID."""
        self._call = call
        self._control: Control | None = control
        self._briefings = briefings
        self._ring = ring
        self._attempt: _Attempt | None = None

    @property
    def is_connecting(self) -> bool:
        return self._attempt is not None and self._attempt.state is _State.CONNECTING

    def start(self, dial: str, briefing: Sound | None, ended: Ended) -> None:
        """``ended`` is told once, but not after ``stop``."""
        if self._attempt is not None or self._control is None:
            ended("refused")
            return

        def over(reason: str) -> None:
            self._attempt = None
            ended(reason)
            self._ring.stop()  # writes to a line that may be gone: the end of that is no hang-up, if all is told

        try:
            target = target_of(dial)
            self._attempt = _Attempt(self._call, self._briefings, briefing, over)
            self._ring.start(ring_back(self.tone))
            self._attempt.ring(self._control, target)
        except LegError as error:
            log.error("call=%s cannot be transferred: %s", self._call, error)
            self.stop()
            ended("refused")

    def stop(self) -> None:
        """The caller is gone: nobody is called any more, and nobody told. Idempotent."""
        attempt, self._attempt = self._attempt, None
        self._ring.stop()
        if attempt is not None:
            attempt.stop()

    def close(self) -> None:
        self.stop()
        self._control = None
        self._ring.close()


class _Attempt:
    """One callee, from the first ring to the conversation or its failure. Implements ``briefings.Awaiting``."""

    def __init__(self, call: str, briefings: Briefings, briefing: Sound | None, ended: Ended) -> None:
        self.state = _State.RINGING
        self.line_is_done = Flag()
        self._call = call
        self._briefings = briefings
        self._briefing = briefing
        self._ended: Ended | None = ended
        self._callee: Callee | None = None
        self._name = ""
        self._line: AudioSocketLine | None = None
        self._media: AudioSocketMedia | None = None
        self._has_answered = False
        self._deadline = 0

    def ring(self, control: Control, target: Target) -> None:
        """Raises LegError where that cannot be done."""
        self._name = self._briefings.expect(self)
        self._callee = control.ring(target.endpoint, self._name, target.seconds, self._news)

    def stop(self) -> None:
        self._ended = None
        self._over("stopped")

    # What the callee's phone does

    def _news(self, news: OutboundNews) -> None:
        if self.state is not _State.RINGING:
            return
        if isinstance(news, CalleeAnswered):
            self._has_answered = True
            self._by(LINE_SECONDS, "unreachable", _NO_LINE)
            self._brief()
        elif isinstance(news, CallFailed):
            log.info("call=%s nobody takes it: %s (cause %d, sip %d)", self._call, news.reason, news.cause, news.sip)
            self._over(news.reason if news.reason in _REASONS else "unreachable")

    def line_came(self, line: AudioSocketLine) -> None:
        if self.state is _State.RINGING:
            self._line = line
            line.on_digit = self._pressed
            line.on_end = self._line_ended
            self._brief()

    def _brief(self) -> None:
        line = self._line
        if line is None or not self._has_answered or self.state is not _State.RINGING:
            return
        self.state = _State.BRIEFING
        if self._briefing is None:
            self._connect()
            return
        heard = twice(self._briefing)
        self._by(heard.seconds + DECIDES_SECONDS, "declined", "the callee did not decide")
        self._media = AudioSocketMedia(line, self._briefings.ticker, _to_nobody, quiet=_QUIET)
        self._media.start()
        self._media.play(Clip(0, 0, heard))

    def _pressed(self, key: str) -> None:
        if self.state is not _State.BRIEFING:
            return
        if key == "1":
            self._connect()
        else:
            self._over("declined")

    def _line_ended(self) -> None:
        """The callee hung up; or is with the caller already."""
        if self.state is not _State.CONNECTING:
            self._over("declined" if self.state is _State.BRIEFING else "unreachable")

    def _connect(self) -> None:
        assert self._callee is not None
        self.state = _State.CONNECTING
        self._by(CONNECT_SECONDS, "unreachable", "Asterisk did not connect caller and callee in time")
        self._hush()
        self._callee.connect(self._connected)

    def _connected(self, error: LegError | None) -> None:
        if self.state is not _State.CONNECTING:
            return
        if error is not None:
            log.warning("call=%s whoever took it cannot be connected: %s", self._call, error)
        self._over("" if error is None else "unreachable")

    # The end

    def _by(self, seconds: float, reason: str, why: str) -> None:
        """Unless more happens within ``seconds``, it has failed."""

        def overdue() -> None:
            log.log(logging.INFO if reason == "declined" else logging.WARNING, "call=%s %s", self._call, why)
            self._over(reason)

        deadlines = self._briefings.deadlines
        deadlines.cancel(self._deadline)
        self._deadline = deadlines.after(seconds, overdue)

    def _hush(self) -> None:
        media, self._media = self._media, None
        if media is not None:
            media.close()

    def _over(self, reason: str) -> None:
        if self.state is _State.OVER:
            return
        self.state = _State.OVER
        self._briefings.deadlines.cancel(self._deadline)
        self._briefings.forget(self._name)
        self._hush()
        callee, self._callee = self._callee, None
        if reason and callee is not None:
            callee.hang_up()
        self._line = None
        self.line_is_done.set()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(reason)


def _to_nobody(_: Event) -> None:
    """What the callee says meanwhile is nobody's."""
