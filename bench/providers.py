"""What our way to a streaming service adds to it: ``python -m bench.providers``; about three minutes.

A pretend service in one process on one core, streams in another on the other core: over bare sockets (a selector
loop without any library, in the same run), through our engine, and through our engine as a call uses it (deadlines,
fallbacks, counting). Every piece carries the time at which it was sent.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from bench.analysis import Spread
from bench.load import line, machine

#: What is streamed: (title, stage, pieces,interval ms,wait before the first ms, at once, requests on each).
PLANS = (
    ("model, one stream of 50 tokens/s", "llm", "100,20,50", 1, 12),
    ("model, 100 streams of 50 tokens/s", "llm", "100,20,50", 100, 4),
    ("voice, one stream at 5 x real time", "tts", "50,20,50", 1, 12),
    ("voice, 100 streams at real time", "tts", "50,100,50", 100, 2),
    ("recogniser (WebSocket), one caller", "stt", "200,20,0", 1, 4),
    ("recogniser (WebSocket), 100 callers", "stt", "200,20,0", 100, 2),
)
WAYS = {"llm": ("bare", "engine", "wrapped"), "tts": ("bare", "engine", "wrapped"), "stt": ("engine", "wrapped")}
HEAD = ("way", "first piece", "each piece", "CPU", "hub lag, worst", "connections/requests")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.providers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("llm", "tts", "stt"), help="one stage only")
    wanted = parser.parse_args()
    print(machine(), "\nTimes are p50 / p95 / p99 / worst in ms.")
    with subprocess.Popen(
        [sys.executable, "-m", "bench.provider_server", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        urls = _line(server)
        for title, what, plan, streams, rounds in PLANS:
            if wanted.only in (None, what):
                print(f"\n{title}\n\n{line(HEAD)}\n{line(['---'] * len(HEAD))}", flush=True)
                for way in WAYS[what]:
                    order = {"urls": urls, "what": what, "wanted": plan, "streams": streams, "rounds": rounds}
                    print(line(_row(order | {"way": way, "core": "0"}, server)), flush=True)
        server.kill()


def _row(order: dict[str, Any], server: subprocess.Popen[str]) -> list[str]:
    shown = base64.b64encode(json.dumps(order).encode()).decode()
    done = subprocess.run(
        [sys.executable, "-m", "bench.provider_client", shown], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    pieces = len(found["late"])
    if order["what"] == "llm":
        cpu = f"{found['cpu'] / pieces * 1000 * 1000:.1f} ms for 1000 tokens"
    else:
        minutes = pieces / 600 if order["what"] == "tts" else order["streams"] * order["rounds"] * 4 / 60
        cpu = f"{found['cpu'] / minutes * 1000:.1f} ms for a minute of sound"
    used = _asked(server)
    lag = "" if order["way"] == "bare" else f"{found['lag'] * 1000:.1f}"
    kept = f"{used['connections']}/{used['requests']}" if used["requests"] else ""
    return [order["way"], _shown(found["first"]), _shown(found["late"]), cpu, lag, kept]


def _shown(seconds: Sequence[float]) -> str:
    spread = Spread.of(seconds)
    if spread is None:
        return ""
    return " / ".join(f"{each * 1000:.2f}" for each in (spread.p50, spread.p95, spread.p99, spread.worst))


def _asked(server: subprocess.Popen[str]) -> dict[str, int]:
    assert server.stdin is not None
    server.stdin.write("\n")
    server.stdin.flush()
    found: dict[str, int] = _line(server)
    return found


def _line(server: subprocess.Popen[str]) -> Any:
    assert server.stdout is not None
    return json.loads(server.stdout.readline())


if __name__ == "__main__":
    main()
