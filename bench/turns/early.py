"""What ``early_reply`` gains and costs: ``python -m bench.turns.early``. Half a minute.

The calls of bench.turns in which a caller takes turns, on a clean line, with words that stream and a model that takes
half a second; once with early_reply and once without.
"""

from __future__ import annotations

from dataclasses import replace

from bench.turns.line import Call, build
from bench.turns.scenarios import TURNS, scripts
from bench.turns.score import quantile
from bench.turns.world import World
from esl_agent.dialogue.cascade import Cascade
from esl_agent.dialogue.settings import CascadeSettings, EarlyReplySettings, LimitSettings, Phrases, SilenceSettings

#: Seconds the model takes to answer.
THINK = 0.5
#: The agent's first sound so long after the caller's last belongs to it.
PATIENCE = 5.0


def dialogue(call: Call, *, early: bool) -> Cascade:
    settings = CascadeSettings(
        phrases=Phrases(greeting=call.script.question),
        limits=LimitSettings(call=36000.0),
        silence=SilenceSettings(prompt_after=120.0),
    )
    return Cascade(replace(settings, early_reply=EarlyReplySettings(enabled=early)), 0.0)


def main() -> None:
    print("| | early_reply | turns | last sound to first, p50 / p95, ms | questions a turn | cut-offs per 100 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in TURNS.values():
        calls = [build(script) for script in scripts() if script.row == row]
        for early in (False, True):
            waits: list[float] = []
            asks = turns = cuts = 0
            for call in calls:
                log = World(call, dialogue(call, early=early), THINK).run()
                asks += len(log.asks)
                turns += len(call.items)
                for item in call.items:
                    cuts += any(item.onset < began < item.end for began, _, _ in log.sounding)
                    first = [began for began, _, _ in log.sounding if item.end <= began < item.end + PATIENCE]
                    waits += [first[0] - item.end] if first else []
            print(
                f"| {row} | {'on' if early else 'off'} | {turns} | {quantile(waits, 0.5) * 1000:.0f} / "
                f"{quantile(waits, 0.95) * 1000:.0f} | {asks / turns:.2f} | {100 * cuts / turns:.0f} |"
            )


if __name__ == "__main__":
    main()
