"""What the doctor looks at in Asterisk's dialplan: each number's way to us, and what may go wrong on it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from esl_agent import doctor_places as places
from esl_agent.config import Config, DidConfig, address
from esl_agent.config.asterisk import AsteriskSettings
from esl_agent.config.did import normalised
from esl_agent.doctor_asterisk_checks import TYPED_RATES, asterisk_host, can, load, release, told, websocket_client
from esl_agent.doctor_asterisk_dialplan import AsteriskPlan, Step, Way, arguments
from esl_agent.doctor_asterisk_view import View
from esl_agent.doctor_checks import Finding, Findings, Mark
from esl_agent.legs.ami_callee import EXTENSION as BRIEFING

#: Numbers of the configuration whose way is followed when none was asked for, and ways that are told of each.
MAX_NUMBERS = 20
MAX_WAYS = 6
#: Contexts that Asterisk makes itself, one for each registered application (22.10.1).
OF_STASIS = "stasis-"
#: AudioSocket's UUID argument where nothing is left to work out.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_OPTION = re.compile(r"([A-Za-z])(?:\(([^)]*)\))?")


@dataclass(frozen=True, slots=True)
class Entrance:
    """A line of the dialplan that gives the call to an agent. ``kind``: how; ``target``: host:port, section or name."""

    kind: str
    target: str
    uuid: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """Letters and what stands in brackets: of the dial string."""
    dial: str = ""
    """Options of Dial."""

    @property
    def codec(self) -> str | None:
        return dict(self.options).get("c")


def entrance(step: Step) -> Entrance | None:
    """What ``step`` gives the call to, if that can be an agent."""
    name, given = step.application.lower(), [*arguments(step.data), "", ""]
    if name == "stasis":
        return Entrance("Stasis", given[0])
    if name == "audiosocket":
        return Entrance("AudioSocket()", given[1], given[0])
    if name != "dial":
        return None
    for each in given[0].split("&"):
        kind, _, rest = each.partition("/")
        parts = rest.split("/")
        if kind.lower() == "audiosocket":
            options = tuple(_OPTION.findall(parts[2])) if len(parts) > 2 else ()
            return Entrance("AudioSocket", parts[0], parts[1] if len(parts) > 1 else "", options, given[2])
        if kind.lower() == "websocket":
            options = tuple(_OPTION.findall(parts[1])) if len(parts) > 1 else ()
            return Entrance("WebSocket", parts[0], "", options, given[2])
    return None


def dialplan(view: View, config: Config, did: str | None) -> Findings:
    """Does the dialplan bring ``did``, or every whole number of the configuration, to us? And away from us again?"""
    plan = view.plan()
    if plan is None:
        cure = "class reporting in `write` of manager.conf; or run the doctor where Asterisk's console is"
        yield Finding(Mark.UNCHECKED, "dialplan", "nobody may look at it", cure)
        return
    lines = [step.place for step in plan.steps() if entrance(step) and not step.context.startswith(OF_STASIS)]
    if lines:
        more = f" and {len(lines) - MAX_WAYS} more" if len(lines) > MAX_WAYS else ""
        yield Finding(Mark.OK, "dialplan", f"lines for an agent: {', '.join(lines[:MAX_WAYS])}{more}")
    else:
        cure = "conf/asterisk/extensions.conf has them: put it into yours, then asterisk -rx 'dialplan reload'"
        yield Finding(Mark.FAIL, "dialplan", "no Dial(AudioSocket/...), Dial(WebSocket/...) or Stasis() in it", cure)
    known = [each.settings.did for each in config.dids if each.settings.did][:MAX_NUMBERS]
    for number in [did] if did is not None else known:
        yield from _number(view, plan, config, number)
    yield from _transfers(plan, config, did)
    yield from _outbound(view, plan, config)


def _number(view: View, plan: AsteriskPlan, config: Config, number: str) -> Findings:
    subject, settings = f"number {number}", config.service.asterisk
    if config.find(number) is None:
        yield Finding(Mark.FAIL, subject, "no file of dids/ answers it: its calls are refused", "add one, or a default")
    trunk = (view.endpoint(settings.outbound.trunk) or {}).get("context", "")
    ways, ended = _ways(view, plan, settings, number, trunk)
    if trunk and ways and trunk not in ways:
        seen = (
            f"the trunk's calls enter {trunk}, from where it does not reach us ({ended.get(trunk, 'no such context')})"
        )
        simplest = min(ways, key=lambda context: not _is_simplest(entrance(ways[context].goal)))
        cure = f"Goto({simplest},${{EXTEN}},1) there, unless calls come in by another way"
        yield Finding(Mark.WARN, subject, seen, cure)
    if not ways:
        told_of = [trunk] if trunk in ended else list(ended)[:MAX_WAYS]
        seen = "; ".join(f"{name}: {ended[name]}" for name in told_of) or "no context has it"
        cure = f"does an extension fit it? asterisk -rx 'dialplan show {number}@{trunk or 'CONTEXT'}'"
        yield Finding(Mark.FAIL, subject, f"does not reach us: {seen}", cure)
    for context, way in list(ways.items())[:MAX_WAYS]:
        yield from _way(view, settings, subject, context, way)


def _ways(
    view: View, plan: AsteriskPlan, settings: AsteriskSettings, number: str, trunk: str
) -> tuple[dict[str, Way], dict[str, str]]:
    """Context -> the way from it to us; context -> where it ends instead. Of the ways only that from the context
    ``trunk``, if there is one; else those that no other way leads through, and of these those to something that is
    configured if there are any."""
    spellings = list(dict.fromkeys((number, normalised(number), f"+{normalised(number)}")))
    ways: dict[str, Way] = {}
    ended: dict[str, str] = {}
    apart = {settings.outbound.context, settings.transfer_context, settings.briefing_context}
    # The trunk's first: if that is well no other is looked at, and a dialplan may have hundreds.
    for context in sorted(plan.contexts, key=lambda each: each != trunk):
        if context in apart or context.startswith(OF_STASIS):
            continue
        for spelling in spellings:
            way, end = plan.way(spelling, context, lambda step: entrance(step) is not None, view.variable)
            if way is not None:
                ways[context] = way
                ended.pop(context, None)
                break
            ended.setdefault(context, end)
        if trunk in ways:
            return {trunk: ways[trunk]}, ended
    within = {step.context for way in ways.values() for step in way.steps if step.context != way.steps[0].context}
    outer = {context: way for context, way in ways.items() if context not in within} or ways
    open_ = {context: way for context, way in outer.items() if _is_open(entrance(way.goal), settings)}
    return open_ or outer, ended


def _is_open(found: Entrance | None, settings: AsteriskSettings) -> bool:
    """Whether the configuration has the door that a line of the dialplan leads to."""
    if found is None:
        return False
    return {"Stasis": bool(settings.ari.url), "WebSocket": bool(settings.websocket.listen)}.get(found.kind, True)


def _is_simplest(found: Entrance | None) -> bool:
    """Whether it is the door that is advised to who could have any."""
    return found is not None and found.kind == "AudioSocket"


def _way(view: View, settings: AsteriskSettings, subject: str, context: str, way: Way) -> Findings:
    """One context brings the number to us: by what, and does it bring it safely?"""
    found = entrance(way.goal)
    assert found is not None
    line = f"{way.goal.application}({way.goal.data}) at {way.goal.place}"
    yield Finding(Mark.OK, subject, f"from {context}: {line}")
    if way.branches:
        places_ = ", ".join(dict.fromkeys(way.branches))
        yield Finding(Mark.UNCHECKED, subject, f"{context}: which way it goes at {places_}")
    if found.kind == "Stasis":
        yield from _stasis(settings, subject, found)
    elif found.kind == "WebSocket":
        yield from _websocket(view, settings, subject, found)
    else:
        yield from _audiosocket(view, settings, subject, found)
    if found.kind == "AudioSocket()":
        if not way.has("Answer"):
            seen = "AudioSocket() without Answer(): Asterisk sends no sound, and hangs up"
            yield Finding(Mark.FAIL, subject, seen, "Dial(AudioSocket/...) as in conf/asterisk, or Answer() before it")
        return
    if way.has("Answer"):
        seen = "Answer() before the agent: a call that no agent can take is answered, and paid for"
        yield Finding(Mark.WARN, subject, seen, "take Answer() out: the agent's connection answers")
    if found.kind != "Stasis" and "g" not in {letter for letter, _ in _OPTION.findall(found.dial)}:
        seen = "Dial without option g: when the agent dies in a call, the caller is hung up"
        yield Finding(Mark.WARN, subject, seen, "Dial(...,,g)")
    if way.followed is None:
        seen = f"nothing follows {way.goal.application}: without an agent the caller is hung up"
        yield Finding(
            Mark.WARN, subject, seen, "let an apology or a person follow, as [ai-ended] of conf/asterisk does"
        )


def _audiosocket(view: View, settings: AsteriskSettings, subject: str, found: Entrance) -> Findings:
    yield from _target(settings, subject, found.target)
    if not found.uuid:
        cure = "AudioSocket/host:port/${UUID()}/c(slin24)"
        yield Finding(Mark.FAIL, subject, "no UUID in it: Asterisk does not even connect", cure)
    elif "${" not in found.uuid and not _UUID.fullmatch(found.uuid):
        seen = f"{found.uuid[:60]!r} is no UUID: Asterisk does not even connect"
        yield Finding(Mark.FAIL, subject, seen, "${UUID()}")
    elif "${" not in found.uuid:
        seen = "every call has the same UUID: a second one at the same time is closed"
        yield Finding(Mark.FAIL, subject, seen, "${UUID()}")
    if found.kind == "AudioSocket()":
        if view.has_module("app_audiosocket") is False:
            seen = "app_audiosocket is not loaded: no application AudioSocket"
            yield Finding(Mark.FAIL, subject, seen, load("app_audiosocket"))
        seen = "the application AudioSocket hangs up when no agent answers, and has 8 kHz only"
        yield Finding(Mark.WARN, subject, seen, "Dial(AudioSocket/host:port/${UUID()}/c(slin24),,g), without Answer()")
        has = view.may_read(settings.ami.user) if view.ami is not None else None
        if has is not None and not {"dialplan", "all"} & set(has):
            seen = "AMI tells of callers in the application AudioSocket only who asks: each is known a little late"
            yield Finding(Mark.WARN, subject, seen, "read = call,dialplan in manager.conf, or Dial(AudioSocket/...)")
        return
    codec, known = found.codec, release(view.version())
    if codec is None:
        seen = "no c(...): the caller's G.711 comes under the label of 16-bit sound, a hiss or nothing"
        yield Finding(Mark.FAIL, subject, seen, "c(slin24), or c(slin), after the UUID")
    elif not codec.startswith("slin"):
        cure = "c(slin24), or c(slin)"
        yield Finding(Mark.FAIL, subject, f"c({codec}) comes under the label of 16-bit sound, a hiss or nothing", cure)
    elif codec != "slin" and can(TYPED_RATES, known) is False:
        seen = f"c({codec}) sounds slow and deep with this Asterisk; AudioSocket says its rate from {told(TYPED_RATES)}"
        yield Finding(Mark.FAIL, subject, seen, "c(slin), or a newer Asterisk")


def _target(settings: AsteriskSettings, subject: str, target: str) -> Findings:
    """Whether host:port of a line is our server's."""
    server = settings.audiosocket
    ours = f"{server.host}:{server.port}"
    cure = "host:port of asterisk.audiosocket; AUDIOSOCKET_ADDR in [globals] of extensions.conf"
    try:
        host, port = address(target)
    except ValueError:
        mark = Mark.UNCHECKED if "${" in target else Mark.FAIL
        yield Finding(mark, subject, f"{target!r} is no host:port" + ("" if mark is Mark.FAIL else " yet"), cure)
        return
    if server.advertise and target == server.advertise:
        return
    if port != server.port:
        yield Finding(Mark.FAIL, subject, f"{target} is not ours: asterisk.audiosocket is {ours}", cure)
        return
    if not list(places.resolved(host)):
        seen = f"whether {host} is this machine: its name is not known here"
        yield Finding(Mark.UNCHECKED, subject, seen, "asterisk.audiosocket.advertise: the same host:port, if it is")
        return
    at = asterisk_host(settings)
    is_away = at is not None and not places.is_loopback(at) and not places.is_this_machine(at)
    if is_away and places.is_loopback(host):
        yield Finding(Mark.FAIL, subject, f"{target} is Asterisk's own machine ({at}), not this one", cure)
    elif not (places.is_same(host, server.host) or (places.is_wildcard(server.host) and places.is_this_machine(host))):
        yield Finding(Mark.FAIL, subject, f"{target} is not ours: asterisk.audiosocket is {ours}", cure)


def _stasis(settings: AsteriskSettings, subject: str, found: Entrance) -> Findings:
    if not settings.ari.url:
        seen = "it leads to ARI, and asterisk.ari.url is empty"
        yield Finding(Mark.FAIL, subject, seen, "asterisk.ari in agent.yaml, or Dial(AudioSocket/...) in the dialplan")
    elif "${" in found.target:
        yield Finding(Mark.UNCHECKED, subject, f"whether {found.target} is {settings.ari.app}")
    elif found.target != settings.ari.app:
        seen = f"Stasis({found.target}): our application is {settings.ari.app} (asterisk.ari.app)"
        yield Finding(
            Mark.FAIL, subject, seen, f"Stasis({settings.ari.app}), or VOICEAI_APP in extensions.conf's [globals]"
        )


def _websocket(view: View, settings: AsteriskSettings, subject: str, found: Entrance) -> Findings:
    letters = dict(found.options)
    if letters.get("f") != "json":
        yield Finding(
            Mark.WARN, subject, "no f(json): the agent reads JSON best", "WebSocket/<section>/c(slin24)nf(json)"
        )
    if not letters.get("c", "").startswith("slin"):
        cure = "WebSocket/<section>/c(slin24)nf(json)"
        yield Finding(Mark.FAIL, subject, "no c(slin...): the caller's codec comes as it is", cure)
    yield from websocket_client(view, settings, subject, found.target)


def _transfers(plan: AsteriskPlan, config: Config, did: str | None) -> Findings:
    """Whether the destinations of the DIDs are extensions where transfers go."""
    context = config.service.asterisk.transfer_context
    dids = [config.find(did)] if did is not None else config.dids
    targets = sorted({(name, number) for each in dids if each for name, number in _destinations(each)})
    briefing = config.service.asterisk.briefing_context
    warm = any(to.mode == "warm" for each in dids if each for to in each.settings.destinations.values())
    if warm and config.service.asterisk.ami.server and plan.find(briefing, BRIEFING) is None:
        seen = f"{briefing} has no extension {BRIEFING}: nobody can be asked before a warm transfer"
        cure = "[ai-briefing] of conf/asterisk/extensions.conf; asterisk.briefing_context"
        yield Finding(Mark.FAIL, "transfers", seen, cure)
    if not targets:
        return
    reached = [f"{name} ({number})" for name, number in targets if plan.find(context, number)]
    if reached:
        yield Finding(Mark.OK, "transfers", f"in {context}: {', '.join(reached[:MAX_NUMBERS])}")
    for name, number in targets:
        if plan.find(context, number) is None:
            cure = f"add {number} to [{context}] in extensions.conf, then asterisk -rx 'dialplan reload'"
            yield Finding(Mark.FAIL, "transfers", f"{context} has no extension {number}, for {name}", cure)


def _destinations(did: DidConfig) -> Iterable[tuple[str, str]]:
    for name, each in did.settings.destinations.items():
        if each.number:
            yield name, each.number


def _outbound(view: View, plan: AsteriskPlan, config: Config) -> Findings:
    """Whether who answers `esl-agent call` would be given to an agent. It dials over AMI, also where there is ARI."""
    settings = config.service.asterisk
    if view.ami is None:
        return
    context = settings.outbound.context
    numbers = [each.settings.did for each in config.dids if each.settings.did][:MAX_NUMBERS]
    for number in numbers:
        way, end = plan.way(normalised(number), context, lambda step: entrance(step) is not None, view.variable)
        if way is None:
            seen = f"calls that the agent of {number} makes: {end or f'there is no context {context}'}"
            cure = f"[{context}] of conf/asterisk/extensions.conf; asterisk.outbound.context"
            yield Finding(Mark.WARN, "outbound", seen, cure)
        elif number == numbers[0]:
            yield Finding(Mark.OK, "outbound", f"{way.goal.place}: {way.goal.application}({way.goal.data})")
            found = entrance(way.goal)
            if found is not None and found.kind == "AudioSocket":
                yield from _audiosocket(view, settings, "outbound", found)
