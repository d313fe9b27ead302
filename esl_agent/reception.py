"""Takes calls from every door: who answers which number, with what, and what is written of it at the end."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent.event import Event as Flag

from esl_agent.agent_line import AgentLine
from esl_agent.audio.silero import second_opinion
from esl_agent.call import Call
from esl_agent.call_engines import CallEngines, telling
from esl_agent.config import DidConfig
from esl_agent.config.service import CacheSettings, ServiceSettings
from esl_agent.costs import CallCosts, DayTotals
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.relay import Relay
from esl_agent.dialogue.template import Facts
from esl_agent.disk import aside
from esl_agent.errors import LegError
from esl_agent.journal import Journal, Note, Private
from esl_agent.legs.base import CallLeg, MediaStream, Post
from esl_agent.lineup import Duties, Lineup
from esl_agent.mailbox import Mailbox
from esl_agent.prices import Tariff
from esl_agent.providers.base import CallContext, Engines
from esl_agent.speech_cache import SpeechCache
from esl_agent.speech_store import SpeechStore, store_directory
from esl_agent.transfers import CallTransfers, TransferLedger
from esl_agent.workers import Workers

log = logging.getLogger(__name__)

#: Calls that are let go of have this long to clean up.
STOP_SECONDS = 2.0
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Arrival(Protocol):
    """A call at a door. Its events are posted to ``mailbox``."""

    mailbox: Mailbox

    @property
    def leg(self) -> CallLeg: ...

    def media(self, did: DidConfig) -> MediaStream:
        """The voice of the call, once it is known who takes it. Raises LegError where it can have none."""

    def refuse(self, cause: str) -> None:
        """End the call without answering it. May wait; raises nothing."""


@dataclass(frozen=True, slots=True)
class Own:
    """What one call has of its own."""

    arrival: Arrival
    journal: Journal
    did: DidConfig
    engines: Engines
    costs: CallCosts


class Reception:
    """One for the service. ``watch(call_id, note)`` sees every note of every call as it is made."""

    def __init__(
        self, service: ServiceSettings, lineup: Lineup, watch: Callable[[str, Note], None] | None = None
    ) -> None:
        self.lineup = lineup
        """Who answers calls that come from now on."""
        self.cache = _speech_cache(service.cache)
        self.calls: dict[str, Call] = {}
        self._service = service
        self._watch = watch
        self._ledger = TransferLedger(time.monotonic, service.transfers)
        self._days = DayTotals()
        self._engines: dict[CallLeg, CallEngines] = {}
        self._greenlets: set[gevent.Greenlet] = set()
        self._idle = Flag()
        self._idle.set()

    def take(self, arrival: Arrival) -> None:
        """One admitted call, from its first event to its last, in the greenlet that calls this."""
        began = time.monotonic()
        leg, journal = arrival.leg, self._journal(arrival.leg, began)
        found = self.lineup.find(leg.did)
        if found is None:
            log.error("call=%s nobody answers this number: no DID file matches it and none is the default", leg.id)
            arrival.refuse("UNALLOCATED_NUMBER")
            return
        did, engines = found
        costs = self._costs_of(did)
        if costs.is_day_spent() and not did.cascade.last_resort.transfer:
            log.error("call=%s refused: today's budget.day_limit of %s is spent", leg.id, did.name)
            leg.announce("esl_agent::refused", {"reason": "today's budget.day_limit is spent"})
            arrival.refuse(did.settings.budget.refusal_cause)
            return
        try:
            call = self._build(Own(arrival, journal, did, engines, costs))
        except LegError as error:
            log.error("call=%s cannot be taken: %s", leg.id, error)
            leg.announce("esl_agent::refused", {"reason": str(error)})
            self._let_go(leg)
            arrival.refuse("NORMAL_TEMPORARY_FAILURE")
            return
        except BaseException:
            self._let_go(leg)
            raise
        self._run(call, journal, costs)

    def end_all(self, reason: str) -> None:
        """Have every call ended politely."""
        for call in list(self.calls.values()):
            call.end(reason)

    def wait_idle(self, seconds: float) -> bool:
        """Whether every call has ended within ``seconds``."""
        return bool(self._idle.wait(seconds))

    def stop(self) -> None:
        """Let go of calls that still run: their dialplan goes on. Idempotent."""
        gevent.killall(list(self._greenlets), timeout=STOP_SECONDS)

    def _journal(self, leg: CallLeg, began: float) -> Journal:
        service = self._service
        journal = Journal(
            leg.id,
            began,
            show_private=service.log.private,
            keep=bool(service.records.directory),
            watch=self._watch,
        )
        journal.note("call", began, did=Private(leg.did), caller=Private(leg.caller), name=Private(leg.caller_name))
        return journal

    def _run(self, call: Call, journal: Journal, costs: CallCosts) -> None:
        leg = call.leg
        self.calls[leg.id] = call
        greenlet = gevent.getcurrent()
        self._greenlets.add(greenlet)
        self._idle.clear()
        try:
            call.run()
        finally:
            self._greenlets.discard(greenlet)
            if not self._greenlets:
                self._idle.set()
            if self.calls.get(leg.id) is call:  # and not one that came again before this one had ended
                del self.calls[leg.id]
            self._let_go(leg)
            self._write_record(journal, costs)

    def _let_go(self, leg: CallLeg) -> None:
        """Of the call's engines, if it has any."""
        if (engines := self._engines.pop(leg, None)) is not None:
            engines.close()

    def _costs_of(self, did: DidConfig) -> CallCosts:
        """What a new call of ``did`` costs, at the prices of the last reload."""
        service = self.lineup.config.service
        tariff, zone = Tariff(service.prices, service.currency), did.zone
        return CallCosts(did.key, did.settings.budget, tariff, self._days, lambda: datetime.now(zone).date())

    def _build(self, own: Own) -> Call:
        arrival, did, costs = own.arrival, own.did, own.costs
        leg, mailbox, post = arrival.leg, arrival.mailbox, arrival.mailbox.post
        duties = self.lineup.duties_of(did)
        now = datetime.now(did.zone)
        facts = Facts(leg.id, leg.did, did.name, leg.caller, leg.caller_name, now, leg.variable)
        context = CallContext(leg.id, telling(costs, post), costs.affordable)
        bound = self._engines[leg] = CallEngines(
            {tag: made for tag, (_, made) in duties.languages.items()} | {did.language: own.engines}, context
        )
        engines = bound[did.language]
        stream = arrival.media(did)
        try:
            workers = Workers(
                engines,
                self.cache,
                stream.rate,
                post,
                leg.id,
                streams=stream.streams,
                http=duties.http,
                languages=bound,
            )
            dialogue = _dialogue(did, duties, facts, streams=stream.streams)
            agent = _agent_line(did, engines, stream, post, context)
            transfers = CallTransfers(self._ledger, did.name, leg, duties.policy, did.cascade.transfer, post)
        except BaseException:
            stream.close()
            raise
        return Call(leg, stream, dialogue, workers, mailbox, own.journal, transfers, costs, agent=agent)

    def _write_record(self, journal: Journal, costs: CallCosts) -> None:
        directory = self._service.records.directory
        if not directory:
            return
        path = Path(directory) / f"{_NOT_A_NAME.sub('_', journal.call_id)}.json"
        try:
            aside(_write_json, path, journal.record() | {"costs": costs.record()})
        except OSError as error:
            log.error("call=%s cannot write its record %s: %s", journal.call_id, path, error.strerror)


def _dialogue(did: DidConfig, duties: Duties, facts: Facts, *, streams: bool) -> Cascade | Relay:
    """Whose turn it is on a call of ``did``: its YAML says who answers, whatever door the call came through."""
    settings, now = did.cascade.filled(facts, did.language), time.monotonic()
    if did.has_agent:
        return Relay(settings, did.settings.relay, now, streams=streams, language=did.language, toolbox=duties.toolbox)
    return Cascade(
        settings,
        now,
        streams=streams,
        language=did.language,
        second_opinion=second_opinion(did.cascade.barge_in.second_opinion),
        languages={tag: cascade.filled(facts, tag) for tag, (cascade, _) in duties.languages.items()},
        toolbox=duties.toolbox,
    )


def _agent_line(
    did: DidConfig, engines: Engines, stream: MediaStream, post: Post, context: CallContext
) -> AgentLine | None:
    if not did.has_agent:
        return None
    relay = did.settings.relay
    return AgentLine(
        engines.agents,
        stream.rate,
        post,
        context,
        patience=relay.connect,
        streams=stream.streams,
        law=relay.law,
        settings=did.settings.resilience,
    )


def _speech_cache(settings: CacheSettings) -> SpeechCache:
    directory, max_bytes = store_directory(settings.directory, os.environ), settings.max_mb * 1_000_000
    return SpeechCache(max_bytes, SpeechStore(directory, max_bytes) if directory else None)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
