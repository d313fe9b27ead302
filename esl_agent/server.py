"""Builds everything from the configuration; listens, admits, reloads, drains."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import gevent
from gevent.event import Event as Flag
from gevent.lock import Semaphore

from esl_agent import config as configuration
from esl_agent.asterisk_door import AsteriskDoor
from esl_agent.audio import first_use
from esl_agent.config import Config
from esl_agent.errors import ConfigError
from esl_agent.freeswitch_door import FreeSwitchDoor
from esl_agent.hub_lag import HubLag
from esl_agent.journal import Note
from esl_agent.lineup import Lineup, keep_warm, make_lineup
from esl_agent.reception import Reception
from esl_agent.secret import beside
from esl_agent.systemd import Systemd

log = logging.getLogger(__name__)

#: How rarely the garbage collector looks: it stops every call, and a call that ends leaves little for it.
GC_THRESHOLDS = (5000, 20, 50)


class Door(Protocol):
    """Where calls come in."""

    def start(self) -> None:
        """Listen. Raises LegError or OSError if a port is taken."""

    def turn_away(self) -> None:
        """From now on new calls are refused."""

    def wait_idle(self, seconds: float) -> None:
        """Until no call is left, at most ``seconds``; then nothing is listened to."""

    def stop(self) -> None:
        """Listen no more. Idempotent."""

    def clean_up(self) -> None:
        """The last call is over. Idempotent."""


class Server:
    """The service. ``watch(call_id, note)`` sees every note of every call as it is made (the demo prints them).
    ``freeswitch``: whether that door is opened too, or only Asterisk's."""

    def __init__(
        self,
        directory: Path,
        config: Config,
        *,
        lineup: Lineup | None = None,
        watch: Callable[[str, Note], None] | None = None,
        freeswitch: bool = True,
    ) -> None:
        service = config.service
        self._directory = directory
        self._service = service
        self.reception = self._receive(lineup or make_lineup(config), watch)
        self.hub_lag = HubLag()
        self._systemd = Systemd()
        self.freeswitch = FreeSwitchDoor(service, self.reception) if freeswitch else None
        with beside(config.constants):
            self.asterisk = AsteriskDoor(service.asterisk, self.reception) if service.asterisk.enabled else None
        self._warming: gevent.Greenlet | None = None
        self._is_draining = False
        self._reloading = Semaphore()
        self._stopped = Flag()

    @property
    def doors(self) -> Sequence[Door]:
        return [door for door in (self.freeswitch, self.asterisk) if door is not None]

    def _receive(self, lineup: Lineup, watch: Callable[[str, Note], None] | None) -> Reception:
        return Reception(self._service, lineup, watch)

    def start(self) -> None:
        """Listen. Fixed phrases are spoken into the cache meanwhile. Raises LegError or OSError if a port is taken."""
        first_use.warm()
        for door in self.doors:
            door.start()
        self.hub_lag.start()
        self._keep_warm()
        # What exists now lives as long as the process: the collector need not visit it while every call waits.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._systemd.ready()
        log.info("ready: %d DIDs", len(self.reception.lineup.config.dids))

    def run(self) -> None:
        """``start``, then serve until SIGTERM or SIGINT (drain and stop; a second SIGINT stops at once).

        SIGHUP reloads.
        """
        gevent.signal_handler(signal.SIGTERM, self._begin_drain)
        gevent.signal_handler(signal.SIGINT, self._interrupted)
        gevent.signal_handler(signal.SIGHUP, lambda: gevent.spawn(self.reload))
        self.start()
        self._stopped.wait()

    def reload(self) -> bool:
        """Read the configuration again for calls to come. A bad one is refused, logged, and the old one stays.

        Reading takes some 60 ms a DID, in a thread: running calls would not be heard meanwhile.
        """
        with self._reloading:  # what was read last counts
            return self._reload()

    def _reload(self) -> bool:
        try:
            read = gevent.get_hub().threadpool.apply(_read, (self._directory,))
            if isinstance(read, ConfigError):
                raise read
            lineup = make_lineup(read)
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload refused: %s", problem)
            return False
        service = lineup.config.service
        if replace(service, prices=self._service.prices, currency=self._service.currency) != self._service:
            log.warning("reload: agent.yaml changed; addresses, limits and log settings need a restart")
        self.reception.lineup = lineup
        self._keep_warm()
        log.info("reloaded: %d DIDs", len(lineup.config.dids))
        return True

    def _keep_warm(self) -> None:
        if self._warming is not None:
            self._warming.kill(block=False)
        self._warming = gevent.spawn(keep_warm, self.reception.lineup, self.reception.cache)

    def drain(self) -> None:
        """Take no more calls, let running ones finish, bid goodbye to those that do not, then stop."""
        seconds = self._service.freeswitch.drain
        self._systemd.stopping()
        log.info("draining: %d calls, at most %g s", len(self.reception.calls), seconds)
        for door in self.doors:
            door.turn_away()
        polite = gevent.spawn_later(seconds / 2, self.reception.end_all, "the service stops")
        gevent.joinall([gevent.spawn(door.wait_idle, seconds) for door in self.doors])
        polite.kill(block=False)
        self.stop()

    def stop(self) -> None:
        """Stop listening, and let go of calls that still run: the switch goes on with their dialplan. Idempotent."""
        for door in self.doors:
            door.stop()
        self.hub_lag.stop()
        self._systemd.close()
        if self._warming is not None:
            self._warming.kill(block=False)
        self.reception.stop()
        for door in self.doors:
            door.clean_up()
        self._stopped.set()

    def _begin_drain(self) -> None:
        if not self._is_draining:
            self._is_draining = True
            for door in self.doors:
                door.turn_away()
            gevent.spawn(self.drain)

    def _interrupted(self) -> None:
        if self._is_draining:
            log.warning("interrupted twice: stopping at once")
            gevent.spawn(self.stop)
        self._begin_drain()


def _read(directory: Path) -> Config | ConfigError:
    """In a thread of gevent's pool, which prints what is raised in it."""
    try:
        return configuration.load(directory)
    except ConfigError as error:
        return error
