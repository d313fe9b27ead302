"""What a pretend FreeSWITCH wants done in the world. Its shell carries these out; tests read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """Send ``data`` on the event socket in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the event socket: FIN, or RST if ``reset``."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class OpenFork:
    """Connect a WebSocket for bug ``bug`` and report ``fork_connected`` or ``fork_failed``. ``rate``: samples/s.

    ``plays``: what arrives as binary is played, at this rate; 0: it is discarded.
    """

    bug: str
    url: str
    mix: str
    rate: int
    metadata: str
    plays: int = 0


@dataclass(frozen=True, slots=True)
class ForkCut:
    """Throw away what is ready to be played (``stop_play``)."""

    bug: str


@dataclass(frozen=True, slots=True)
class ForkFlow:
    """Let the caller's frames flow, or hold them (dropped, no catch-up)."""

    bug: str
    flowing: bool


@dataclass(frozen=True, slots=True)
class ForkText:
    """Send a TEXT message on the fork."""

    bug: str
    text: str


@dataclass(frozen=True, slots=True)
class CloseFork:
    """Send ``text`` if not empty, then close with code 1000."""

    bug: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class OpenUnicast:
    """Bind UDP at ``local``, send what the caller says to ``remote`` every 20 ms, play what arrives.

    ``native``: G.711 both ways. A port that cannot be bound: ``unicast.failed``.
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    native: bool


@dataclass(frozen=True, slots=True)
class CloseUnicast:
    """Close that socket; nothing is said."""


Effect = Write | Close | OpenFork | ForkCut | ForkFlow | ForkText | CloseFork | OpenUnicast | CloseUnicast
