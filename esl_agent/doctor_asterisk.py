"""``esl-agent doctor --asterisk``: what stands between a caller at Asterisk and the agent? Changes nothing there."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping

from esl_agent import doctor_asterisk_checks as checks
from esl_agent import doctor_asterisk_paths as paths
from esl_agent import doctor_places as places
from esl_agent.config import Config
from esl_agent.config.asterisk import AsteriskSettings
from esl_agent.doctor_asterisk_view import VERSION, AmiUser, Console, View, local_console
from esl_agent.doctor_checks import Finding, Findings, Mark
from esl_agent.errors import CommandRefused, CommandTimeout, ConfigError, EslAgentError, LegClosed, LegError
from esl_agent.legs.ari import AriClient
from esl_agent.secret import beside, secret
from esl_agent.wire.ari import Reply


def findings(
    config: Config, did: str | None, environment: Mapping[str, str] | None = None, console: Console | None = None
) -> Findings:
    """``console``: None asks that of this machine, if it is of the Asterisk that is configured."""
    settings = config.service.asterisk
    if not settings.enabled:
        seen = "asterisk.enabled is false: the service does not open this door"
        yield Finding(Mark.FAIL, "Asterisk", seen, "asterisk: enabled: true in agent.yaml")
    view = View()
    try:
        with beside(config.constants):
            ami_secret = _Secret("ami", settings.ami.secret_env, settings.ami.secret_file, environment)
            ari_secret = _Secret("ari", settings.ari.password_env, settings.ari.password_file, environment)
        view.ami = yield from _ami(settings, ami_secret)
        view.ari = yield from _ari(settings, ari_secret)
        view.console = yield from _console(settings, console)
        if view.ami is None and view.ari is None and view.console is None:
            cure = "asterisk.ami or asterisk.ari; or run the doctor on Asterisk's machine as a user of its console"
            if settings.ami.server or settings.ari.url:
                cure = "first what is said above"
            yield Finding(Mark.UNCHECKED, "Asterisk", "anything inside it: there is no way to look", cure)
        else:
            yield from _inside(view, config, did)
    finally:
        view.close()
    yield from checks.ports(config)


def _inside(view: View, config: Config, did: str | None) -> Findings:
    settings = config.service.asterisk
    looks: dict[str, Callable[[], Findings]] = {
        "Asterisk": lambda: checks.version(view, settings),
        "AMI": lambda: checks.rights(view, settings),
        "ARI": lambda: checks.stasis(view, settings),
        "modules": lambda: checks.modules(view, settings),
        "codecs": lambda: checks.codecs(view, settings),
        "trunk": lambda: checks.trunk(view, settings),
        "dialplan": lambda: paths.dialplan(view, config, did),
    }
    for subject, look in looks.items():
        try:
            yield from look()
        except LegClosed as error:
            yield Finding(Mark.FAIL, subject, str(error), "look at Asterisk's log: did it stop?")
            return
        except CommandTimeout as error:
            yield Finding(
                Mark.FAIL, subject, str(error), "Asterisk is stuck or very busy: asterisk -rx 'core show uptime'"
            )
        except EslAgentError as error:
            yield Finding(Mark.UNCHECKED, subject, str(error))


class _Secret:
    """A secret, or why there is none."""

    def __init__(self, key: str, variable: str, file: str, environment: Mapping[str, str] | None) -> None:
        self.value, self.trouble = None, ""
        kind = "secret" if key == "ami" else "password"
        self.cure = f"set {variable or f'asterisk.{key}.{kind}_env'}, or asterisk.{key}.{kind}_file"
        try:
            self.value = secret(variable, file, environment)
        except ConfigError as error:
            self.trouble = str(error)


def _ami(settings: AsteriskSettings, known: _Secret) -> Generator[Finding, None, AmiUser | None]:
    where = settings.ami_address
    if where is None:
        seen = "asterisk.ami.server is empty: no transfers, no calls that the agent makes, nobody says who calls"
        if not settings.ari.url:
            cure = "asterisk.ami.server: 127.0.0.1:5038, or asterisk.ari; else asterisk.did says which agent answers"
            yield Finding(Mark.WARN, "AMI", seen, cure)
        return None
    if known.value is None:
        seen = known.trouble or f"no secret for {settings.ami.user} is known"
        yield Finding(Mark.FAIL, "AMI", seen, known.cure)
        return None
    peer = settings.ami.server
    try:
        user = AmiUser(*where, settings.ami.user, known.value, settings.ami.timeout)
    except CommandRefused as error:
        cure = (
            "three causes look alike from here: another secret (make-secrets.sh, then manager reload), no such user, "
            "or `permit` without this machine's address, in manager.conf; Asterisk's log tells which"
        )
        yield Finding(Mark.FAIL, "AMI", f"{peer} refuses {settings.ami.user} ({error.reply})", cure)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or str(error)
        cure = "is Asterisk running? manager.conf: enabled = yes, and bindaddr and port as asterisk.ami.server says"
        yield Finding(Mark.FAIL, "AMI", f"{peer} cannot be reached: {told}", cure)
    except LegError as error:
        cure = "asterisk.ami.server must be bindaddr and port of manager.conf"
        yield Finding(Mark.FAIL, "AMI", str(error), cure)
    else:
        yield Finding(Mark.OK, "AMI", f"{peer} lets {settings.ami.user} in")
        return user
    return None


def _ari(settings: AsteriskSettings, known: _Secret) -> Generator[Finding, None, AriClient | None]:
    ari = settings.ari
    if not ari.url:
        return None
    if known.value is None:
        yield Finding(Mark.FAIL, "ARI", known.trouble or f"no password for {ari.user} is known", known.cure)
        return None
    try:
        client = AriClient(ari.url, ari.app, ari.user, known.value, timeout=ari.timeout, ca_file=ari.ca_file)
    except ConfigError as error:
        yield Finding(Mark.FAIL, "ARI", str(error), "asterisk.ari.ca_file: certificates in PEM, or empty")
        return None
    reply = View(ari=client).rest("applications")
    if reply.is_ok:
        yield Finding(Mark.OK, "ARI", f"{client.where} lets {ari.user} in")
        return client
    client.stop()
    yield Finding(Mark.FAIL, "ARI", f"{client.where}: {reply}", _ari_cure(reply, ari.user))
    return None


def _ari_cure(reply: Reply, user: str) -> str:
    if reply.status == 0:
        return (
            "is Asterisk running? `http show status` must show the address of asterisk.ari.url; else enabled = yes in "
            "http.conf, and a restart"
        )
    if reply.status == 401:
        return f"[{user}] and its password in ari.conf (make-secrets.sh), then asterisk -rx 'module reload res_ari.so'"
    if reply.status == 404:
        return (
            "enabled = yes and only one [general] in ari.conf (with two, all of it is refused), and a restart; load "
            "res_ari_applications.so; http.conf's prefix belongs into asterisk.ari.url"
        )
    return "look at Asterisk's log"


def _console(settings: AsteriskSettings, given: Console | None) -> Generator[Finding, None, Console | None]:
    """The console, if it can be asked and is of the Asterisk that is configured."""
    host = checks.asterisk_host(settings)
    console = given or (local_console() if host is None or places.is_this_machine(host) else None)
    if console is None:
        return None
    if not VERSION.search(console("core show version") or ""):
        seen = "asterisk -rx does not answer: no Asterisk runs here, or this user may not use its console"
        cure = "systemctl status asterisk; run the doctor as root or as Asterisk's user"
        yield Finding(Mark.UNCHECKED, "console", seen, cure)
        return None
    ours = settings.ami_address
    if ours is not None:
        port, shown = ours[1], re.search(r"TCP Bindaddress: +\S*:(\d+)", console("manager show settings") or "")
    else:
        at = re.search(r":(\d+)(?:/|$)", settings.ari.url.partition("://")[2])
        port = int(at[1]) if at else 80
        shown = re.search(r"Bound to \S*:(\d+)", console("http show status") or "")
    if (ours is not None or settings.ari.url) and shown is not None and int(shown[1]) != port:
        yield Finding(Mark.UNCHECKED, "console", f"that of this machine is of another Asterisk (port {shown[1]})")
        return None
    yield Finding(Mark.OK, "console", "asterisk -rx answers")
    return console
