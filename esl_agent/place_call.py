"""``esl-agent call``: have Asterisk call somebody for the agent, and tell what becomes of it."""

from __future__ import annotations

import re
import time
from typing import TextIO

import gevent
from gevent.event import AsyncResult
from gevent.event import Event as Flag
from gevent.queue import Queue

from esl_agent.asterisk_door import ami_client
from esl_agent.config import Config
from esl_agent.errors import ConfigError, LegError
from esl_agent.legs.ami import AmiClient
from esl_agent.legs.ami_originate import AmiDialler
from esl_agent.legs.outbound import CalleeAnswered, CallFailed, CallOut, EarlyMediaBegan, OutboundNews, Rang
from esl_agent.secret import beside
from esl_agent.wire.ami import Message
from esl_agent.wire.esl_commands import safe_text

#: Seconds for AMI to let us in.
LOGIN_SECONDS = 5.0
#: Seconds beyond the time that it may ring.
SLACK_SECONDS = 10.0


def run(config: Config, number: str, did: str, out: TextIO) -> int:
    """Call ``number``; the running service's agent of ``did`` talks with whoever answers. 0: somebody did. Ctrl-C
    while it rings ends the call."""
    settings = config.service.asterisk
    if config.find(did) is None:
        raise ConfigError([f"--did {safe_text(did, 40)}: no DID file matches it and none is the default"])
    with beside(config.constants):
        client = ami_client(settings)
    if client is None:
        raise ConfigError(["agent.yaml: asterisk: ami: server: calls are made through AMI, and none is given"])
    dialler = AmiDialler(client)
    try:
        _log_in(client)
        if _sessions(client, settings.ami.user) == 1:
            raise LegError(
                f"{client.peer}: nobody but this command is there as {settings.ami.user}: start esl-agent serve first, "
                "or whoever answers talks with nobody"
            )
        news: Queue[OutboundNews] = Queue()
        to = settings.outbound
        call = CallOut(number, did, to.trunk, to.caller_id, to.timeout)
        outgoing = dialler.originate(call, news.put, context=to.context)
        try:
            return _tell(news, to.timeout + SLACK_SECONDS, out)
        except KeyboardInterrupt:
            outgoing.cancel()
            gevent.sleep(0.5)  # until it has left
            raise
    finally:
        client.close()


def _log_in(client: AmiClient) -> None:
    connected = Flag()
    client.on_connected(connected.set)
    client.start()
    if not connected.wait(LOGIN_SECONDS):
        raise LegError(f"{client.peer}: {client.trouble}; esl-agent doctor --asterisk looks closer")


def _sessions(client: AmiClient, user: str) -> int | None:
    """How many are logged in as ``user``, this command included; None where Asterisk does not say (func_ami_client)."""
    said: AsyncResult[Message | LegError] = AsyncResult()
    client.send("Getvar", [("Variable", f"AMI_CLIENT({user},sessions)")], said.set)
    answer = said.get()
    value = answer.get("Value") if isinstance(answer, Message) else ""
    return int(value) if re.fullmatch("[0-9]{1,6}", value) else None


def _tell(news: Queue[OutboundNews], seconds: float, out: TextIO) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        out.write(f"{time.monotonic() - began:6.1f} s  {text}\n")
        out.flush()

    say("calling")
    while True:
        match news.get(timeout=seconds):
            case Rang():
                say("it rings")
            case EarlyMediaBegan():
                say("early media (SIP 183): nobody has answered")
            case CalleeAnswered(channel):
                say(f"answered: {safe_text(channel, 80)}; the dialplan hands the call to the agent")
                return 0
            case CallFailed(reason, cause, sip, detail):
                facts = ", ".join(
                    each for each in (sip and f"SIP {sip}", cause and f"cause {cause}", safe_text(detail, 200)) if each
                )
                say(f"{reason.replace('_', ' ')} ({facts})" if facts else reason.replace("_", " "))
                return 1
