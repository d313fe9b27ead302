"""The measured process of ``bench.asterisk``: the real server, which notes when its frames leave.

Run by bench.asterisk as ``python -m gevent.monkey --module bench.asterisk.agent_side DIRECTORY SUBJECT NUMBERS``. On
standard input ``settle`` says that all calls are there, and echoes of the NUMBERS begin again; ``mark`` begins the
measured time, ``finish`` ends it and prints what was seen. Then it begins anew.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as esl_agent.__main__ does, before numpy is imported

import gevent

from bench.agent_side import DELAYS, canned, wait_for
from bench.analysis import Spread
from esl_agent import config as configuration
from esl_agent.audio.pcm import SoundStream
from esl_agent.call import Call
from esl_agent.dialogue.actions import Action, Play, StopPlayback
from esl_agent.dialogue.events import Audio, Event, HungUp, MediaStarted
from esl_agent.dialogue.phase import Phase
from esl_agent.legs.audiosocket_line import AudioSocketLine
from esl_agent.legs.audiosocket_media import AudioSocketMedia
from esl_agent.legs.playout_clock import STEP, PlayoutClock
from esl_agent.lineup import Lineup
from esl_agent.reception import Own, Reception
from esl_agent.server import Server


class EchoDialogue:
    """Says what it hears. What piled up while calls began is forgotten by ``begin_again``."""

    phase = Phase.LISTENING

    def __init__(self) -> None:
        self.next_deadline: float | None = time.monotonic() + 3600
        self.turn_number = 0
        self._rate = 0
        self._is_beginning = False
        self._sound = SoundStream(8000)

    def begin_again(self) -> None:
        self._is_beginning = True

    def receive(self, event: Event, now: float) -> list[Action]:
        found: list[Action] = []
        if type(event) is Audio:
            if self._is_beginning:
                self._is_beginning = False
                self.turn_number += 1
                self._sound = SoundStream(self._rate)
                found = [StopPlayback(), Play(self.turn_number, 0, self._sound)]
            self._sound.append(event.pcm)
        elif isinstance(event, MediaStarted):
            self._rate, self._is_beginning = event.rate, True
        elif isinstance(event, HungUp):
            self.phase, self.next_deadline = Phase.OVER, None
        return found


class EchoReception(Reception):
    """Every call talks with itself."""

    def _build(self, own: Own) -> Call:
        call = super()._build(own)
        call.dialogue = EchoDialogue()  # type: ignore[assignment]
        return call


class EchoServer(Server):
    def _receive(self, lineup: Lineup, watch: Any) -> Reception:
        return EchoReception(self._service, lineup, watch)


class Stamps:
    """How late each frame left, on the absolute clock that it should have left by, and how many came."""

    def __init__(self, ticker: PlayoutClock) -> None:
        self.late = array("d")
        self.heard = 0
        send, heard, clock = AudioSocketLine.send, AudioSocketMedia._heard, time.monotonic

        def send_stamped(line: AudioSocketLine, pcm: bytes) -> None:
            send(line, pcm)
            self.late.append(clock() - ticker._began - ticker._done * STEP)

        def heard_counted(media: AudioSocketMedia, kind: int, payload: bytes) -> None:
            self.heard += 1
            heard(media, kind, payload)

        AudioSocketLine.send = send_stamped  # type: ignore[method-assign]
        AudioSocketMedia._heard = heard_counted  # type: ignore[method-assign]

    def clear(self) -> None:
        del self.late[:]
        self.heard = 0


def main(directory: str, subject: str, measured: str) -> None:
    logging.basicConfig(level=logging.INFO, filename=Path(directory) / "agent.log", format="%(asctime)s %(message)s")
    config = configuration.load(directory)
    kind = EchoServer if subject == "echo" else Server
    lineup = None if subject == "bridge" else canned(config, DELAYS["canned"])
    server = kind(Path(directory), config, lineup=lineup, freeswitch=False)
    assert server.asterisk is not None
    ticker = server.asterisk._ticker
    stamps = Stamps(ticker)
    server.start()
    deadline = time.monotonic() + 10
    while server.asterisk.ami is None or not server.asterisk.ami.is_connected:
        if time.monotonic() > deadline:
            raise SystemExit("bench: AMI does not let the agent in")
        gevent.sleep(0.05)
    print("ready", flush=True)
    while True:
        wait_for("settle")
        for call in server.reception.calls.values():
            if isinstance(call.dialogue, EchoDialogue) and call.leg.did in measured.split(","):
                call.dialogue.begin_again()
        wait_for("mark")
        server.hub_lag.readings.clear()
        stamps.clear()
        skipped = ticker.skipped
        wait_for("finish")
        lags, late = list(server.hub_lag.readings), Spread.of(stamps.late)
        found = {
            "calls": len(server.reception.calls),
            "heard": stamps.heard,
            "sent": len(stamps.late),
            "late": asdict(late) if late else None,
            "hub_lag": asdict(lag) if (lag := Spread.of(lags)) else None,
            "skipped": ticker.skipped - skipped,
            "dropped": sum(call.mailbox.dropped_frames for call in server.reception.calls.values()),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
