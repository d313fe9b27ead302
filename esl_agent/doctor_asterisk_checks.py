"""What the doctor looks at in Asterisk itself: version, rights, modules, sound, the trunk, and the ports of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from esl_agent import doctor_places as places
from esl_agent.config import Config, address
from esl_agent.config.asterisk import AsteriskSettings
from esl_agent.doctor_asterisk_view import View
from esl_agent.doctor_checks import Finding, Findings, Mark

#: Series -> the first release of it that can do something; a later series can too (read in the sources' tags).
Gate = Mapping[int, int]
KEYS: Gate = {20: 14, 22: 4}
TYPED_RATES: Gate = {20: 17, 21: 12, 22: 7, 23: 1}
WEBSOCKET_JSON: Gate = {20: 18, 22: 8, 23: 2}

#: AMI actions that stand for a class of manager.conf's ``write``, and what does not work without it.
CLASSES = {
    "call": ("Redirect", "no transfers, no hang-ups with a cause, no keys to the caller"),
    "originate": ("Originate", "no calls that the agent makes"),
    "user": ("UserEvent", "nobody else at AMI is told of the agent's calls"),
    "reporting": ("ShowDialPlan", "the agent cannot ask what runs, nor the doctor read the dialplan"),
}
#: Classes that the agent should not have.
TOO_MUCH = {
    "command": ("Command", "can change the dialplan"),
    "system": ("ModuleCheck", "can run programs on Asterisk's machine, if it has originate too"),
}

RELOAD_CLIENTS = "asterisk -rx 'module reload res_websocket_client.so'"

AUDIOSOCKET = ("res_audiosocket", "chan_audiosocket")
CHAN_WEBSOCKET = ("chan_websocket", "res_websocket_client", "res_http_websocket")
ARI = ("res_stasis", "res_stasis_answer", "app_stasis", "res_ari", "res_ari_applications", "res_ari_bridges",
       "res_ari_channels", "res_ari_events")  # fmt: skip
WANTED = {
    "func_dialplan": "a transfer to an extension that is not there hangs up on the caller",
    "app_senddtmf": "the agent can press no keys",
}


def release(version: str | None) -> tuple[int, int] | None:
    """(22, 10) of ``22.10.1+dfsg``; None for what says no number, as a build from git."""
    found = re.match(r"(?:certified[-/])?(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


def can(gate: Gate, known: tuple[int, int] | None) -> bool | None:
    """None: nobody knows."""
    if known is None:
        return None
    major, minor = known
    if major in gate:
        return minor >= gate[major]
    return True if major > max(gate) else False if major < min(gate) else None


def told(gate: Gate) -> str:
    """``20.17, 21.12, 22.7``"""
    return ", ".join(f"{major}.{minor}" for major, minor in gate.items())


def version(view: View, settings: AsteriskSettings) -> Findings:
    """Which Asterisk, and what it is too old for."""
    text = view.version()
    known = release(text)
    if known is None:
        seen = "which Asterisk it is: " + (f"its version is {text!r}" if text else "nobody may look")
        cure = "" if text else "class reporting in `write` of manager.conf, or ARI; or run the doctor beside Asterisk"
        yield Finding(Mark.UNCHECKED, "Asterisk", seen, cure)
        return
    yield Finding(Mark.OK, "Asterisk", text or "")
    if can(TYPED_RATES, known) is False:
        seen = f"does not say which rate AudioSocket has; first in {told(TYPED_RATES)}: only 8 kHz can be right"
        is_asked = settings.ari.url and settings.ari.media == "audiosocket" and settings.format != "slin"
        cure = "asterisk.format: slin, and c(slin) in the dialplan; or a newer Asterisk"
        yield Finding(Mark.FAIL if is_asked else Mark.WARN, "Asterisk", seen, cure)
    if can(KEYS, known) is False:
        seen = f"hands on no keys over AudioSocket; first in {told(KEYS)}"
        yield Finding(Mark.WARN, "Asterisk", seen, "a newer Asterisk, if callers are to press keys")
    if settings.websocket.listen and can(WEBSOCKET_JSON, known) is False:
        seen = f"its chan_websocket lacks f(json) and marks, or is not there at all; first in {told(WEBSOCKET_JSON)}"
        yield Finding(Mark.FAIL, "Asterisk", seen, "AudioSocket, or a newer Asterisk")


def rights(view: View, settings: AsteriskSettings) -> Findings:
    """What the AMI user may do, and whether the service is there as that user."""
    if view.ami is None:
        return
    user = settings.ami.user
    has = [name for name, (action, _) in CLASSES.items() if action in view.ami.allowed]
    if has:
        yield Finding(Mark.OK, "AMI", f"{user} may write {', '.join(has)}")
    for name in (name for name in CLASSES if name not in has):
        mark = Mark.FAIL if name == "call" else Mark.WARN
        yield Finding(mark, "AMI", f"{user} has no class {name} in `write`: {CLASSES[name][1]}", _write(name))
    for name, (action, danger) in TOO_MUCH.items():
        if action in view.ami.allowed:
            cure = f"take {name} out of `write` in manager.conf, then asterisk -rx 'manager reload'"
            yield Finding(Mark.WARN, "AMI", f"{user} has class {name}: whoever has its secret {danger}", cure)
    yield from _read(view, user)
    sessions = view.variable(f"AMI_CLIENT({user},sessions)") if re.fullmatch(r"[\w.-]+", user) else None
    if sessions is None or not sessions.isdigit():
        yield Finding(Mark.UNCHECKED, "AMI", "whether the running service is connected")
    elif int(sessions) > 1:  # one of them is ours
        yield Finding(Mark.OK, "AMI", f"beside the doctor {int(sessions) - 1} connected as {user}")
    else:
        seen = f"nobody but the doctor is connected as {user}"
        yield Finding(Mark.WARN, "AMI", seen, "start the service: esl-agent serve; its log says why it is not let in")


def _read(view: View, user: str) -> Findings:
    has = view.may_read(user)
    if has is None:
        seen = f"whether {user} may read class call, which tells who calls: AMI does not say; a call tells"
        yield Finding(Mark.UNCHECKED, "AMI", seen, f"asterisk -rx 'manager show user {user}'")
    elif "call" in has or "all" in has:
        yield Finding(Mark.OK, "AMI", f"{user} may read {', '.join(has)}")
    else:
        seen = f"{user} may read {', '.join(has)} and not call: nobody tells who calls whom"
        yield Finding(Mark.FAIL, "AMI", seen, "read = call in manager.conf, then asterisk -rx 'manager reload'")


def stasis(view: View, settings: AsteriskSettings) -> Findings:
    """Whether the running service has our Stasis application, and may act."""
    if view.ari is None:
        return
    app = settings.ari.app
    reply = view.rest("applications", app)
    if reply.is_ok:
        yield Finding(Mark.OK, "ARI", f"application {app} is registered: the service is connected")
    elif reply.status == 404:
        seen = f"nobody has registered application {app}: Stasis({app}) lets every caller go on in the dialplan at once"
        yield Finding(Mark.FAIL, "ARI", seen, "start the service: esl-agent serve; its log says why it is not let in")
    else:
        yield Finding(Mark.UNCHECKED, "ARI", f"whether application {app} is registered: {reply}")
    # There is no such bridge. Who may only read is told 403 before that is noticed.
    if view.rest("bridges", "esl-agent-doctor", method="DELETE").status == 403:
        seen = f"{settings.ari.user} may only read: no call can be answered"
        yield Finding(
            Mark.FAIL, "ARI", seen, "read_only = no in ari.conf, then asterisk -rx 'module reload res_ari.so'"
        )
    if settings.ari.media == "websocket":
        yield from websocket_client(view, settings, "ARI", settings.ari.websocket_client)


def websocket_client(view: View, settings: AsteriskSettings, subject: str, name: str) -> Findings:
    """Whether section ``name`` of websocket_client.conf leads to our server."""
    ours = settings.websocket_address
    if ours is None:
        seen = "chan_websocket brings the sound, and asterisk.websocket.listen is empty"
        yield Finding(Mark.FAIL, subject, seen, "asterisk.websocket.listen: 127.0.0.1:9093, or AudioSocket instead")
        return
    section = view.websocket_client(name)
    if section is None:
        yield Finding(Mark.UNCHECKED, subject, f"section {name} of websocket_client.conf: only ARI shows it")
    elif not section:
        seen = f"websocket_client.conf has no section {name}: every such call fails"
        yield Finding(Mark.FAIL, subject, seen, f"copy conf/asterisk/websocket_client.conf, then {RELOAD_CLIENTS}")
    else:
        uri = section.get("uri", "")
        found = re.match(r"wss?://[^/]*:(\d+)", uri)
        if found is None or int(found[1]) != ours[1]:
            seen = f"section {name} leads to {uri}; asterisk.websocket.listen is {settings.websocket.listen}"
            yield Finding(Mark.FAIL, subject, seen, f"uri in websocket_client.conf, then {RELOAD_CLIENTS}")


def modules(view: View, settings: AsteriskSettings) -> Findings:
    """The modules that the configured ways need."""
    needed = {**dict.fromkeys((*AUDIOSOCKET,), "AudioSocket"), "codec_resample": "slin24 out of the caller's 8 kHz"}
    needed |= {"func_uuid": "${UUID()} in the dialplan"}
    if settings.websocket.listen:
        needed |= dict.fromkeys(CHAN_WEBSOCKET, "chan_websocket (asterisk.websocket)")
    if settings.ari.url:
        needed |= dict.fromkeys(ARI, "ARI")
    there = {name: view.has_module(name) for name in (*needed, *WANTED)}
    if unknown := [name for name, loaded in there.items() if loaded is None]:
        cure = (
            "any of: load func_module.so; asterisk.ari; run the doctor on Asterisk's machine as a user of its console"
        )
        yield Finding(Mark.UNCHECKED, "modules", f"whether these are loaded: {', '.join(unknown)}", cure)
    if loaded := [name for name, is_loaded in there.items() if is_loaded]:
        yield Finding(Mark.OK, "modules", ", ".join(loaded))
    for name in (name for name, is_loaded in there.items() if is_loaded is False):
        if name in needed:
            yield Finding(Mark.FAIL, "modules", f"{name} is not loaded: needed for {needed[name]}", load(name))
        else:
            yield Finding(Mark.WARN, "modules", f"{name} is not loaded: {WANTED[name]}", load(name))


def load(name: str) -> str:
    return f"asterisk -rx 'module load {name}.so', and a line in modules.conf"


def codecs(view: View, settings: AsteriskSettings) -> Findings:
    """Whether slin24 and telephone sound become each other."""
    text = view.typed("core show translation paths slin 24000")
    paths: dict[str, str] = dict(re.findall(r"To (ulaw|alaw):8000 +: (.*?) *$", text, re.MULTILINE))
    if not paths:
        seen = "the translation path from slin24 to ulaw and alaw: only Asterisk's console shows it"
        yield Finding(Mark.UNCHECKED, "codecs", seen, "asterisk -rx 'core show translation paths slin 24000'")
    for name, path in paths.items():
        if "No Translation" in path:
            cure = f"load codec_resample.so and codec_{name}.so"
            yield Finding(Mark.FAIL, "codecs", f"nothing translates slin24 to {name}", cure)
        else:
            yield Finding(Mark.OK, "codecs", f"slin24 to {name}: {path}")


def trunk(view: View, settings: AsteriskSettings) -> Findings:
    """The endpoint that calls leave and enter through."""
    name = settings.outbound.trunk
    found = view.endpoint(name)
    if found is None:
        cure = "any of: load func_pjsip_endpoint.so; asterisk.ari; run the doctor where Asterisk's console is"
        yield Finding(Mark.UNCHECKED, "trunk", f"the endpoint {name}: nobody may look", cure)
        return
    if not found:
        seen = f"there is no PJSIP endpoint {name}: the agent can make no calls"
        cure = f"[{name}] in pjsip.conf, or its name in asterisk.outbound.trunk; see `pjsip show endpoints`"
        yield Finding(Mark.WARN, "trunk", seen, cure)
        return
    allow = found.get("allow", "").strip("()")
    yield Finding(Mark.OK, "trunk", f"{name}: calls enter context {found.get('context')}; codecs {allow}")
    if not re.search(r"\b(ulaw|alaw|g722|opus|slin\d*)\b", allow):
        cure = f"allow = ulaw,alaw in [{name}] of pjsip.conf"
        yield Finding(Mark.WARN, "trunk", f"{name}: {allow or 'no codec'} is nothing that most can translate", cure)
    if found.get("direct_media") in ("true", "yes"):
        seen = f"{name}: direct_media is on: after a transfer the parties' sound may bypass Asterisk, or not arrive"
        yield Finding(Mark.WARN, "trunk", seen, f"direct_media = no in [{name}] of pjsip.conf")
    if (keys := found.get("dtmf_mode", "rfc4733")) not in ("rfc4733", "auto", "auto_info", ""):
        seen = f"{name}: dtmf_mode is {keys}: keys may not reach the agent"
        yield Finding(Mark.WARN, "trunk", seen, f"dtmf_mode = rfc4733 in [{name}] of pjsip.conf")


def ports(config: Config) -> Findings:
    """Does anybody listen where Asterisk will connect, and does Asterisk reach us there?"""
    settings = config.service.asterisk
    doors = [("asterisk.audiosocket", settings.audiosocket.host, settings.audiosocket.port, settings.audiosocket.allow)]
    if settings.websocket_address is not None:
        doors.append(("asterisk.websocket.listen", *settings.websocket_address, settings.websocket.allow))
    host = asterisk_host(settings)
    away = host is not None and not places.is_loopback(host) and not places.is_this_machine(host)
    for key, at, port, allow in doors:
        yield places.listener(key, at, port)
        if away and places.is_loopback(at):
            seen = f"{key} is {at}:{port}, which Asterisk on another machine ({host}) cannot reach"
            yield Finding(Mark.FAIL, "addresses", seen, f"{key}: an address of this machine that Asterisk can reach")
        if host is not None and not places.is_allowed(host, allow):
            cure = f"add Asterisk's address to {key.removesuffix('.listen')}.allow"
            yield Finding(Mark.FAIL, "addresses", f"{key}: {host}, where Asterisk is, is not among those allowed", cure)
    told_host = address(settings.audiosocket_address)[0]
    if settings.ari.url and settings.ari.media == "audiosocket" and away and places.is_loopback(told_host):
        seen = f"Asterisk at {host} is told to connect to {settings.audiosocket_address}, which is itself"
        cure = "asterisk.audiosocket.advertise: host:port as Asterisk reaches this machine"
        yield Finding(Mark.FAIL, "addresses", seen, cure)
    seen = "whether Asterisk can connect to us (firewalls, containers): it has no command for that; a call tells"
    yield Finding(Mark.UNCHECKED, "addresses", seen)


def asterisk_host(settings: AsteriskSettings) -> str | None:
    """Where Asterisk is, as far as the configuration says."""
    if settings.ami_address is not None:
        return settings.ami_address[0]
    found = re.match(r"https?://(?:\[([^\]]+)\]|([^/:]+))", settings.ari.url)
    return (found[1] or found[2]) if found else None


def _write(name: str) -> str:
    return f"add {name} to `write` of the user in manager.conf, then asterisk -rx 'manager reload'"
