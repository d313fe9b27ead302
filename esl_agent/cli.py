"""The command line: serve, sidecar, check, doctor, call, talk, echo, demo."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from datetime import date
from pathlib import Path

from esl_agent import __version__
from esl_agent import config as configuration
from esl_agent.errors import ConfigError, EslAgentError
from esl_agent.secret import beside

ECHO = "Stand in for a realtime service, without an account: say back what the caller says. For a DID with an agent."


def main(arguments: list[str]) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except EslAgentError as error:
        print(f"esl-agent: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"esl-agent: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="esl-agent", description="The voice agent for FreeSWITCH and Asterisk.")
    parser.add_argument("--version", action="version", version=f"esl-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str, positional: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        where = "directory with agent.yaml (else: ./conf)"
        if positional:
            added.add_argument("conf", type=Path, nargs="?", default=Path("conf"), help=where)
        else:
            added.add_argument("--conf", type=Path, default=Path("conf"), help=where)
        return added

    command("serve", _serve, "Answer calls until told to stop.")
    command("sidecar", _sidecar, "Answer Asterisk's calls only: as serve, without the door for FreeSWITCH.")
    command("check", _check, "Check the configuration; say everything that is wrong with it.", positional=True)
    doctor = command(
        "doctor",
        _doctor,
        "Look at FreeSWITCH as fs_cli would, and at Asterisk where asterisk.enabled is true: what is missing for calls "
        "to work? 1 is the exit status if anything is.",
    )
    doctor.add_argument("--did", help="follow the dialplan for this number, instead of every number of the files")
    doctor.add_argument("--asterisk", action="store_true", help="look at Asterisk only, enabled or not")
    call = command("call", _call, "Have Asterisk call somebody; the running service's agent talks with who answers.")
    call.add_argument("number", help="whom to call")
    call.add_argument("--did", required=True, help="the DID whose agent talks")
    talk = command("talk", _talk, "Talk to a DID's agent in the terminal, without a telephone.")
    talk.add_argument("number", help="the number a caller would dial")
    echo = commands.add_parser("echo", help=ECHO, description=ECHO)
    echo.set_defaults(run=_echo)
    echo.add_argument("--port", type=_port, default=8765, help="where it listens, on 127.0.0.1 (else: 8765)")
    demo = command("demo", _demo, "Make one whole call to the agent, without FreeSWITCH, and print it as it happens.")
    demo.add_argument("--did", default="5000", help="the number to call; the caller's sentences are made for 5000")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="directory for the recording and the picture")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)


def set_up_logging(level: str, format: str) -> None:
    """Log to standard error, one line a fact."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonLines() if format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs addresses, and some voices are asked with their text


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _serve(options: argparse.Namespace) -> int:
    return _run(options, configuration.load(options.conf))


def _sidecar(options: argparse.Namespace) -> int:
    config = configuration.load(options.conf)
    if not config.service.asterisk.enabled:
        raise ConfigError(
            [f"{options.conf / 'agent.yaml'}: asterisk: enabled: expected true, or there is nothing to do"]
        )
    return _run(options, config, freeswitch=False)


def _run(options: argparse.Namespace, config: configuration.Config, *, freeswitch: bool = True) -> int:
    from esl_agent.advice import advice
    from esl_agent.server import Server

    set_up_logging(config.service.log.level, config.service.log.format)
    for line in advice(config, date.today()):
        logging.getLogger(__name__).warning("%s", line)
    Server(options.conf, config, freeswitch=freeswitch).run()
    return 0


def _check(options: argparse.Namespace) -> int:
    """A missing key is a mistake like any other, though only the service's own environment may have it: "no problems"
    promises that the service starts, and the systemd unit in deploy/ asks this, with its keys, before each start."""
    from esl_agent.advice import advice, unpriced
    from esl_agent.asterisk_door import check_secrets
    from esl_agent.lineup import make_lineup

    config = configuration.load(options.conf)
    lineup = make_lineup(config)
    with beside(config.constants):
        check_secrets(config.service.asterisk)
    for did in config.dids:
        agents = ", ".join(spec.name for spec in did.engines.agent)
        print(f"{did.key:<24} {did.name} ({did.file}){f', realtime agent: {agents}' if agents else ''}")
    warnings = [*advice(config, date.today()), *unpriced(lineup)]
    for line in warnings:
        print(f"warning: {line}")
    told = f", {len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}" if warnings else ""
    dids = "1 DID" if len(config.dids) == 1 else f"{len(config.dids)} DIDs"
    print(f"{options.conf}: {dids}, no problems{told}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from esl_agent import doctor

    config = configuration.load(options.conf)
    return 1 if doctor.run(config, options.did, sys.stdout, only_asterisk=options.asterisk) else 0


def _call(options: argparse.Namespace) -> int:
    from esl_agent import place_call

    return place_call.run(configuration.load(options.conf), options.number, options.did, sys.stdout)


def _talk(options: argparse.Namespace) -> int:
    from esl_agent import talk

    talk.run(configuration.load(options.conf), options.number, sys.stdin, sys.stdout)
    return 0


def _echo(options: argparse.Namespace) -> int:
    from gevent.event import Event

    from esl_agent.testing.realtime_echo import EchoService

    service = EchoService(options.port)
    with service:
        print(service.advice(), flush=True)
        Event().wait()  # until Ctrl-C
    return 0


def _demo(options: argparse.Namespace) -> int:
    from esl_agent.demo import show

    set_up_logging("WARNING", "text")
    return show.run(options.conf, options.out, sys.stdout, number=options.did)
