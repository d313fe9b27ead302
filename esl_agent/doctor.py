"""``esl-agent doctor``: what stands between a caller and the agent? Looks at every door that is configured: FreeSWITCH
as ``fs_cli`` would, Asterisk (doctor_asterisk.py) where ``asterisk.enabled`` says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TextIO

from esl_agent import doctor_asterisk, inbound
from esl_agent import doctor_checks as checks
from esl_agent import doctor_paths as paths
from esl_agent.config import Config
from esl_agent.doctor_asterisk_view import Console
from esl_agent.doctor_checks import Finding, Findings, Mark
from esl_agent.errors import CommandTimeout, ConfigError, EslAgentError, LegClosed
from esl_agent.secret import beside, secret

_COLOURS = {Mark.OK: "32", Mark.WARN: "33", Mark.FAIL: "31", Mark.UNCHECKED: "36"}
_MARK_WIDTH = max(len(mark.value) for mark in Mark)
_SUBJECT_WIDTH = 12
#: One line of the report is cut here; the dialplan and the module names come from outside.
_MAX_LINE = 600


def run(
    config: Config,
    did: str | None,
    out: TextIO,
    environment: Mapping[str, str] | None = None,
    *,
    only_asterisk: bool = False,
    console: Console | None = None,
) -> int:
    """Write the report to ``out``; how many findings are FAIL.

    ``did``: follow the dialplan for this number; None: for every whole number of the configuration. ``only_asterisk``:
    look at nothing else. ``console``: Asterisk's; None: that of this machine, if it is the right one. Raises nothing
    that a switch or the network could cause. Changes nothing but for one clip, written and removed again.
    """
    seen: Counter[Mark] = Counter()
    colour = out.isatty()
    for finding in _doors(config, did, environment, only_asterisk, console):
        seen[finding.mark] += 1
        out.write(_line(finding, colour))
        out.flush()
    out.write(
        f"\n{_count(seen[Mark.FAIL], 'problem')}, {_count(seen[Mark.WARN], 'warning')}, "
        f"{seen[Mark.UNCHECKED]} not checked\n"
    )
    return seen[Mark.FAIL]


def _doors(
    config: Config,
    did: str | None,
    environment: Mapping[str, str] | None,
    only_asterisk: bool,
    console: Console | None,
) -> Findings:
    if not only_asterisk:
        yield from _findings(config, did, environment)
    if only_asterisk or config.service.asterisk.enabled:
        yield from doctor_asterisk.findings(config, did, environment, console)


def _findings(config: Config, did: str | None, environment: Mapping[str, str] | None) -> Findings:
    settings = config.service.event_socket
    where = f"{settings.host}:{settings.port}"
    try:
        with beside(config.constants):
            password = secret(settings.password_env, settings.password_file, environment)
    except ConfigError as error:
        yield Finding(Mark.FAIL, "event socket", str(error), "let event_socket.password_file name a readable file")
        password = None
    else:
        if password is None:
            cure = f"set {settings.password_env or 'event_socket.password_env'}, or event_socket.password_file"
            yield Finding(Mark.FAIL, "event socket", f"no password for {where} is known", cure)
    if password is None:
        yield Finding(Mark.UNCHECKED, "FreeSWITCH", "anything inside it, without a password")
    else:
        yield from _inside(config, did, password)
    yield from paths.addresses(config)


def _inside(config: Config, did: str | None, password: str) -> Findings:
    settings = config.service.event_socket
    try:
        fs = inbound.connect(settings.host, settings.port, password)
    except inbound.InboundError as error:
        yield Finding(Mark.FAIL, "event socket", error.seen, error.cure)
        yield Finding(Mark.UNCHECKED, "FreeSWITCH", "anything inside it, without its event socket")
        return
    except EslAgentError as error:
        yield Finding(Mark.FAIL, "event socket", str(error))
        return
    with fs:
        yield Finding(Mark.OK, "event socket", f"{fs.peer} lets us in")
        looks: dict[str, Callable[[], Findings]] = {
            "FreeSWITCH": lambda: checks.version(fs, config),
            "modules": lambda: checks.modules(fs, config),
            "codecs": lambda: checks.codecs(fs, config),
            "SIP": lambda: checks.profiles(fs, config),
            "dialplan": lambda: paths.dialplan(fs, config, did),
            "clips": lambda: paths.clips(fs, config),
            "calls": lambda: checks.channels(fs, config),
        }
        for subject, look in looks.items():
            try:
                yield from look()
            except LegClosed as error:
                yield Finding(Mark.FAIL, subject, str(error), "look at FreeSWITCH's log: did it stop?")
                return
            except CommandTimeout as error:
                yield Finding(Mark.FAIL, subject, str(error), "FreeSWITCH is stuck or very busy: fs_cli -x status")
            except EslAgentError as error:
                yield Finding(Mark.UNCHECKED, subject, str(error))


def _line(finding: Finding, colour: bool) -> str:
    mark = finding.mark.value.ljust(_MARK_WIDTH)
    if colour:
        mark = f"\033[{_COLOURS[finding.mark]}m{mark}\033[0m"
    text = f"{mark}  {_shown(finding.subject, 60).ljust(_SUBJECT_WIDTH)}  {_shown(finding.seen, _MAX_LINE)}\n"
    if finding.cure:
        text += f"{'':{_MARK_WIDTH}}  {'':{_SUBJECT_WIDTH}}  -> {_shown(finding.cure, _MAX_LINE)}\n"
    return text


def _shown(text: str, limit: int) -> str:
    """Outside text for a terminal: one line without what steers it. Unlike ``safe_text`` it leaves ``${`` alone: the
    report shows the dialplan as it is, and nobody evaluates it."""
    return " ".join("".join(each if each.isprintable() else " " for each in text[:limit]).split())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
