"""Builds everything from the configuration; listens, admits, reloads, drains."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event as Flag

from esl_agent import config as configuration
from esl_agent.audio import first_use
from esl_agent.audio.silero import second_opinion
from esl_agent.call import Call
from esl_agent.call_engines import CallEngines, telling
from esl_agent.config import Config, DidConfig
from esl_agent.config.service import CacheSettings
from esl_agent.costs import CallCosts, DayTotals
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.template import Facts
from esl_agent.errors import ConfigError, LegError
from esl_agent.hub_lag import HubLag
from esl_agent.journal import Journal, Note, Private
from esl_agent.legs.audio_server import AudioServer
from esl_agent.legs.clips import clip_directory, remove_clip_directory
from esl_agent.legs.freeswitch import Listener, Session
from esl_agent.legs.freeswitch_leg import FreeSwitchLeg
from esl_agent.legs.s1_listener import S1Listener
from esl_agent.lineup import Lineup, keep_warm, make_lineup
from esl_agent.mailbox import Mailbox
from esl_agent.media import MediaMaker
from esl_agent.prices import Tariff
from esl_agent.providers.base import CallContext, Engines
from esl_agent.speech_cache import SpeechCache
from esl_agent.speech_store import SpeechStore, store_directory
from esl_agent.transfers import CallTransfers, TransferLedger
from esl_agent.wire import esl_commands as commands
from esl_agent.workers import Workers

log = logging.getLogger(__name__)

#: A refused call has this long to report its hang-up.
REFUSAL_SECONDS = 3.0
#: Calls that are let go of have this long to clean up.
STOP_SECONDS = 2.0
#: How rarely the garbage collector looks: it stops every call, and a call that ends leaves little for it.
GC_THRESHOLDS = (5000, 20, 50)
#: The S1 contract's sound.
S1_RATE = 16000
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Server:
    """The service. ``watch(call_id, note)`` sees every note of every call as it is made (the demo prints them)."""

    def __init__(
        self,
        directory: Path,
        config: Config,
        *,
        lineup: Lineup | None = None,
        watch: Callable[[str, Note], None] | None = None,
    ) -> None:
        service = config.service
        self._directory = directory
        self._service = service
        self._watch = watch
        self.lineup = lineup or make_lineup(config)
        self.cache = _speech_cache(service.cache)
        self.hub_lag = HubLag()
        self._ledger = TransferLedger(time.monotonic, service.transfers)
        self._days = DayTotals()
        self.calls: dict[str, Call] = {}
        self._engines: dict[FreeSwitchLeg, CallEngines] = {}
        self._greenlets: set[gevent.Greenlet] = set()
        self._warming: gevent.Greenlet | None = None
        self._clips = clip_directory(service.clips.directory)
        self._audio = AudioServer(
            service.audio.address, service.audio.max_message_bytes, service.audio.max_seconds_per_second
        )
        s1 = service.audio.s1_listener
        self._s1 = (
            S1Listener(
                (s1.host, s1.port), S1_RATE, service.audio.max_message_bytes, service.audio.max_seconds_per_second
            )
            if s1.enabled
            else None
        )
        self._media = MediaMaker(service, self._audio, self._s1, self._clips)
        host, port = service.freeswitch.address
        self.listener = Listener(
            host,
            port,
            self.answer,
            service.freeswitch.max_calls,
            allow=service.freeswitch.allow,
            refusal_cause=service.freeswitch.busy_cause,
            handshake_timeout=service.freeswitch.handshake_timeout,
        )
        self._stopped = Flag()

    def start(self) -> None:
        """Listen. Fixed phrases are spoken into the cache meanwhile. Raises LegError or OSError if a port is taken."""
        first_use.warm()
        self._audio.start()
        if self._s1 is not None:
            self._s1.start()
        self.listener.start()
        self.hub_lag.start()
        self._keep_warm()
        # What exists now lives as long as the process: the collector need not visit it while every call waits.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("ready: calls at %s, sound at %s", self._service.freeswitch.listen, self._service.audio.listen)

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
        """Read the configuration again for calls to come. A bad one is refused, logged, and the old one stays."""
        try:
            lineup = make_lineup(configuration.load(self._directory))
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload refused: %s", problem)
            return False
        service = lineup.config.service
        if replace(service, prices=self._service.prices, currency=self._service.currency) != self._service:
            log.warning("reload: agent.yaml changed; addresses, limits and log settings need a restart")
        self.lineup = lineup
        self._keep_warm()
        log.info("reloaded: %d DIDs", len(lineup.config.dids))
        return True

    def _keep_warm(self) -> None:
        if self._warming is not None:
            self._warming.kill(block=False)
        self._warming = gevent.spawn(keep_warm, self.lineup, self.cache)

    def drain(self) -> None:
        """Take no more calls, let running ones finish, bid goodbye to those that do not, then stop."""
        seconds = self._service.freeswitch.drain
        log.info("draining: %d calls, at most %g s", len(self.calls), seconds)
        self.listener.is_draining = True
        polite = gevent.spawn_later(seconds / 2, self._end_all)
        self.listener.drain(seconds)
        polite.kill(block=False)
        self.stop()

    def stop(self) -> None:
        """Stop listening, and let go of calls that still run: FreeSWITCH goes on with their dialplan. Idempotent."""
        self.listener.stop()
        self._audio.stop()
        if self._s1 is not None:
            self._s1.stop()
        self.hub_lag.stop()
        if self._warming is not None:
            self._warming.kill(block=False)
        gevent.killall(list(self._greenlets), timeout=STOP_SECONDS)
        remove_clip_directory(self._clips)
        self._stopped.set()

    def _begin_drain(self) -> None:
        if not self.listener.is_draining:
            self.listener.is_draining = True
            gevent.spawn(self.drain)

    def _interrupted(self) -> None:
        if self.listener.is_draining:
            log.warning("interrupted twice: stopping at once")
            gevent.spawn(self.stop)
        self._begin_drain()

    def _end_all(self) -> None:
        for call in list(self.calls.values()):
            call.end("the service stops")

    def answer(self, session: Session) -> None:
        """One admitted call, from its first event to its last, in its own greenlet."""
        began = time.monotonic()
        session.link.command_timeout = self._service.freeswitch.command_timeout
        mailbox = Mailbox()
        leg = FreeSwitchLeg(session, mailbox.post)
        journal = Journal(
            leg.id,
            began,
            show_private=self._service.log.private,
            keep=bool(self._service.records.directory),
            watch=self._watch,
        )
        journal.note("call", began, did=Private(leg.did), caller=Private(leg.caller), name=Private(leg.caller_name))
        if not session.has_full_control or (session.session_data or {}).get("Socket-Mode") != "async":
            log.error(
                "call=%s the dialplan's socket line lacks 'async full': socket %s async full", leg.id, "host:port"
            )
            self._refuse(session, commands.hang_up("NORMAL_TEMPORARY_FAILURE"))
            return
        leg.prepare(self._service.freeswitch.events, self._service.freeswitch.linger)
        found = self.lineup.find(leg.did)
        if found is None:
            log.error("call=%s nobody answers this number: no DID file matches it and none is the default", leg.id)
            self._refuse(session, commands.api("uuid_kill", leg.id, "UNALLOCATED_NUMBER"))
            return
        did, engines = found
        costs = self._costs_of(did)
        if costs.is_day_spent() and not did.cascade.last_resort.transfer:
            log.error("call=%s refused: today's budget.day_limit of %s is spent", leg.id, did.name)
            leg.announce("esl_agent::refused", {"reason": "today's budget.day_limit is spent"})
            self._refuse(session, commands.api("uuid_kill", leg.id, did.settings.budget.refusal_cause))
            return
        try:
            call = self._build(leg, mailbox, journal, did, engines, costs)
        except LegError as error:
            log.error("call=%s cannot be taken: %s", leg.id, error)
            leg.announce("esl_agent::refused", {"reason": str(error)})
            self._let_go(leg)
            self._refuse(session, commands.api("uuid_kill", leg.id, "NORMAL_TEMPORARY_FAILURE"))
            return
        except BaseException:
            self._let_go(leg)
            raise
        self.calls[leg.id] = call
        greenlet = gevent.getcurrent()
        self._greenlets.add(greenlet)
        try:
            call.run()
        finally:
            self._greenlets.discard(greenlet)
            if self.calls.get(leg.id) is call:  # and not one that came again before this one had ended
                del self.calls[leg.id]
            self._let_go(leg)
            self._write_record(journal, costs)

    def _let_go(self, leg: FreeSwitchLeg) -> None:
        """Of the call's engines, if it has any."""
        if (engines := self._engines.pop(leg, None)) is not None:
            engines.close()

    def _costs_of(self, did: DidConfig) -> CallCosts:
        """What a new call of ``did`` costs, at the prices of the last reload."""
        service = self.lineup.config.service
        tariff, zone = Tariff(service.prices, service.currency), did.zone
        return CallCosts(did.key, did.settings.budget, tariff, self._days, lambda: datetime.now(zone).date())

    def _build(
        self,
        leg: FreeSwitchLeg,
        mailbox: Mailbox,
        journal: Journal,
        did: DidConfig,
        engines: Engines,
        costs: CallCosts,
    ) -> Call:
        duties, post = self.lineup.duties_of(did), mailbox.post
        now = datetime.now(did.zone)
        facts = Facts(leg.id, leg.did, did.name, leg.caller, leg.caller_name, now, leg.variable)
        bound = self._engines[leg] = CallEngines(
            {tag: made for tag, (_, made) in duties.languages.items()} | {did.language: engines},
            CallContext(leg.id, telling(costs, post), costs.affordable),
        )
        own = bound[did.language]
        stream = self._media.make(leg, did, post)
        try:
            leg.handover.prepare(self._clips, self._media.clips_seen_as, did.cascade.transfer.ringback)
            workers = Workers(
                own,
                self.cache,
                did.media.rate,
                post,
                leg.id,
                streams=stream.streams,
                http=duties.http,
                languages=bound,
            )
            dialogue = Cascade(
                did.cascade.filled(facts, did.language),
                time.monotonic(),
                streams=stream.streams,
                language=did.language,
                second_opinion=second_opinion(did.cascade.barge_in.second_opinion),
                languages={tag: cascade.filled(facts, tag) for tag, (cascade, _) in duties.languages.items()},
                toolbox=duties.toolbox,
            )
            transfers = CallTransfers(self._ledger, did.name, leg, duties.policy, did.cascade.transfer, post)
        except BaseException:
            stream.close()
            raise
        return Call(leg, stream, dialogue, workers, mailbox, journal, transfers, costs)

    def _refuse(self, session: Session, command: bytes) -> None:
        """End a call we will not take, without leaving it parked: closing right away would (captures 23, 24)."""
        try:
            session.request(command).get()
            session.wait_over(REFUSAL_SECONDS)
        except LegError as error:
            log.warning("call=%s could not be refused: %s", session.uuid, error)

    def _write_record(self, journal: Journal, costs: CallCosts) -> None:
        directory = self._service.records.directory
        if not directory:
            return
        path = Path(directory) / f"{_NOT_A_NAME.sub('_', journal.call_id)}.json"
        try:
            gevent.get_hub().threadpool.apply(_write_json, (path, journal.record() | {"costs": costs.record()}))
        except OSError as error:
            log.error("call=%s cannot write its record %s: %s", journal.call_id, path, error.strerror)


def _speech_cache(settings: CacheSettings) -> SpeechCache:
    directory, max_bytes = store_directory(settings.directory, os.environ), settings.max_mb * 1_000_000
    return SpeechCache(max_bytes, SpeechStore(directory, max_bytes) if directory else None)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8", errors="replace")
    aside.replace(path)
