"""What the doctor looks at between FreeSWITCH and this machine: the dialplan's way to us, addresses, clips."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from esl_agent import doctor_places as places
from esl_agent.audio.pcm import Sound
from esl_agent.config import Config, DidConfig, address
from esl_agent.config.did import normalised
from esl_agent.doctor_checks import Finding, Findings, Mark
from esl_agent.doctor_dialplan import Dialplan, Route, SocketLine, socket_line
from esl_agent.errors import CommandRefused, UnsafeText
from esl_agent.inbound import EventSocket
from esl_agent.legs.clips import write_clip

#: Numbers of the configuration whose way is followed when none was asked for.
MAX_NUMBERS = 20


def dialplan(fs: EventSocket, config: Config, did: str | None) -> Findings:
    """Does the dialplan bring ``did``, or every whole number of the configuration, to our listen address?"""
    text = fs.api("xml_locate", "dialplan")
    if not text.lstrip().startswith("<"):
        seen = f"`xml_locate dialplan` says {text.strip()[:100]!r}: it comes from elsewhere (mod_xml_curl, Lua)"
        yield Finding(Mark.UNCHECKED, "dialplan", seen)
        return
    plan = Dialplan(text)
    ours = [step for step in plan.sockets() if (line := socket_line(step.data)) and _names_us(line, config)]
    listen = config.service.freeswitch.listen
    if ours:
        places = ", ".join(f"{step.extension} in {step.context}" for step in ours)
        yield Finding(Mark.OK, "dialplan", f"`socket` to {listen}: {places}")
    else:
        others = ", ".join(f"{step.data} ({step.extension} in {step.context})" for step in plan.sockets()) or "none"
        cure = "copy freeswitch/dialplan/esl_agent.xml, set its number and address, then fs_cli -x reloadxml"
        yield Finding(Mark.FAIL, "dialplan", f"no `socket` line names {listen}; there is {others}", cure)
    known = [each.settings.did for each in config.dids if each.settings.did][:MAX_NUMBERS]
    for number in [did] if did is not None else known:
        yield from _number(plan, config, number)


def _number(plan: Dialplan, config: Config, number: str) -> Findings:
    subject = f"number {number}"
    agent = config.find(number)
    if agent is None:
        yield Finding(Mark.FAIL, subject, "no file of dids/ answers it: its calls are refused", "add one, or a default")
    spellings = list(dict.fromkeys((number, normalised(number), f"+{normalised(number)}")))
    elsewhere = []
    reached = False
    for context in plan.contexts:
        ways = [(spelling, plan.route(spelling, context)) for spelling in spellings]
        spelling, route, at = next(
            ((spelling, route, at) for spelling, route in ways if (at := _our_step(route, config)) is not None),
            (*ways[0], None),
        )
        if at is None:
            elsewhere.append(_goes_to(context, route))
            continue
        reached = True
        yield from _way(subject, spelling, context, route, at, config, agent)
    if not reached:
        cure = "is its expression that of the number? Look with: fs_cli -x 'xml_locate dialplan'"
        yield Finding(Mark.FAIL, subject, f"does not reach us: {'; '.join(elsewhere) or 'no contexts'}", cure)


def _way(
    subject: str, spelling: str, context: str, route: Route, at: int, config: Config, agent: DidConfig | None
) -> Findings:
    """One context brings the number to us: by what, and does it bring it safely?"""
    step = route.steps[at]
    line = socket_line(step.data)
    assert line is not None
    yield Finding(Mark.OK, subject, f"{spelling} in {context}: extension {step.extension}, socket {step.data}")
    if route.assumed:
        yield Finding(
            Mark.UNCHECKED, subject, f"{context}: whether this holds: {', '.join(dict.fromkeys(route.assumed))}"
        )
    if route.skipped:
        yield Finding(Mark.UNCHECKED, subject, f"{context}: whether these take it first: {', '.join(route.skipped)}")
    if missing := [word for word in ("async", "full") if word not in line.words]:
        cure = f'data="{step.data.split()[0]} async full"'
        yield Finding(Mark.FAIL, subject, f"the `socket` line lacks {' and '.join(missing)}", cure)
    if at == len(route.steps) - 1:
        seen = "nothing follows `socket`: without an agent the caller hears nothing and is hung up (SIP 480)"
        yield Finding(Mark.WARN, subject, seen, "let an answer, a playback and a hangup follow, or a transfer")
    if route.variable("playback_terminators", at) != "none":
        seen = "playback_terminators=none is not set before `socket`: the key * cuts the agent short"
        yield Finding(Mark.WARN, subject, seen, '<action application="set" data="playback_terminators=none"/>')
    yield from _park_timeout(subject, route.variable("park_timeout", at), agent)


def _park_timeout(subject: str, value: str | None, agent: DidConfig | None) -> Findings:
    limits = agent.cascade.limits if agent else None
    longest = int(limits.call + limits.goodbye) if limits else 600
    cure = f'<action application="set" data="park_timeout={longest + 60}:NORMAL_TEMPORARY_FAILURE"/> before `socket`'
    seconds = (value or "").partition(":")[0]
    if value is None:
        seen = "no park_timeout before `socket`: a call that its agent abandons stays parked for ever"
        yield Finding(Mark.WARN, subject, seen, cure)
    elif not (seconds.isascii() and seconds.isdigit()):
        yield Finding(Mark.WARN, subject, f"park_timeout is {value}; expected seconds:CAUSE", cure)
    elif int(seconds) <= longest:
        seen = f"park_timeout is {seconds}; this number's calls may last limits.call + limits.goodbye = {longest} s"
        yield Finding(Mark.WARN, subject, seen, cure)


def _our_step(route: Route, config: Config) -> int | None:
    for at, step in enumerate(route.steps):
        if step.application == "socket" and (line := socket_line(step.data)) and _names_us(line, config):
            return at
    return None


def _goes_to(context: str, route: Route) -> str:
    if not route.steps:
        return f"{context} has no extension for it"
    last = route.steps[-1]
    others = [f"socket {step.data}" for step in route.steps if step.application == "socket"]
    return f"{context} gives it to {last.extension} ({', '.join(others) or last.application})"


def _names_us(line: SocketLine, config: Config) -> bool:
    """Whether a ``socket`` line names our listen address, by that name or as another address of this machine."""
    host, port = config.service.freeswitch.address
    return any(
        named == port
        and (each == host or (places.is_wildcard(host) and places.is_this_machine(each)) or places.is_same(each, host))
        for each, named in line.hosts
    )


def addresses(config: Config) -> Findings:
    """Does anybody listen where FreeSWITCH will connect, and can it mean us by these addresses?"""
    service = config.service
    away = not places.is_loopback(service.event_socket.host)
    doors = (
        ("freeswitch.listen", *service.freeswitch.address, "the dialplan's `socket` line"),
        ("audio.listen", *service.audio.address, "mod_audio_fork"),
    )
    for key, host, port, who in doors:
        yield places.listener(key, host, port)
        if away and places.is_loopback(host):
            seen = f"{key} is {host}:{port}, which {who} on another machine ({service.event_socket.host}) cannot reach"
            yield Finding(Mark.FAIL, "addresses", seen, f"{key}: an address of this machine that FreeSWITCH can reach")
    told = address(service.audio.advertised)[0]
    if places.is_wildcard(told) or (away and places.is_loopback(told)):
        seen = f"FreeSWITCH is told to bring the sound to ws://{service.audio.advertised}"
        mark = Mark.FAIL if away else Mark.WARN
        yield Finding(mark, "addresses", seen, "audio.advertise: host:port as FreeSWITCH reaches this machine")
    if away and not places.is_allowed(service.event_socket.host, service.freeswitch.allow):
        seen = f"calls from {service.event_socket.host} are not in freeswitch.allow"
        yield Finding(Mark.WARN, "addresses", seen, "add FreeSWITCH's address to freeswitch.allow")
    seen = (
        f"whether FreeSWITCH can connect to {service.freeswitch.listen} and {service.audio.advertised}: it has no "
        "command that opens a connection; a call tells"
    )
    yield Finding(Mark.UNCHECKED, "addresses", seen)


def clips(fs: EventSocket, config: Config) -> Findings:
    """Does FreeSWITCH see a clip where the agent would put it?"""
    settings = config.service.clips
    directory = Path(settings.directory)
    # A directory that is not there yet is removed again: the service makes it, and its user must own it.
    made = not directory.exists()
    folder = directory / f"doctor-{os.getpid()}"
    probe = folder / "probe.wav"
    seen_as = f"{settings.shared_path or settings.directory}/{folder.name}/{probe.name}"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_clip(probe, Sound(bytes(320), 8000))
        yield from _seen_by_freeswitch(fs, probe, seen_as)
    except OSError as error:
        seen = f"whether FreeSWITCH sees clips: we cannot write {probe}: {error.strerror}"
        yield Finding(Mark.UNCHECKED, "clips", seen, "run the doctor as the user of the service")
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
            folder.rmdir()
            if made:
                directory.rmdir()


def _seen_by_freeswitch(fs: EventSocket, probe: Path, seen_as: str) -> Findings:
    try:
        answer = fs.api("file_exists", seen_as)
    except CommandRefused as error:
        yield Finding(Mark.UNCHECKED, "clips", f"whether FreeSWITCH sees {seen_as}: {error.reply}")
        return
    except UnsafeText as error:
        yield Finding(Mark.FAIL, "clips", f"the path cannot be told to FreeSWITCH: {error}", "choose a plain path")
        return
    if answer != "true":
        cure = (
            "both must see one directory: a container needs it mounted (and clips.shared_path), a systemd unit "
            "no PrivateTmp, and every directory above it must be open to FreeSWITCH's user"
        )
        yield Finding(Mark.FAIL, "clips", f"{probe} is there and FreeSWITCH does not see {seen_as}", cure)
    elif not probe.stat().st_mode & 0o004:
        # `file_exists` looks, it does not read.
        seen = f"FreeSWITCH sees {seen_as}, and may not read it unless it runs as our user"
        yield Finding(Mark.WARN, "clips", seen, "run the service with a umask of 022, or as FreeSWITCH's user")
    else:
        yield Finding(Mark.OK, "clips", f"FreeSWITCH sees {seen_as}, and anybody may read it")
