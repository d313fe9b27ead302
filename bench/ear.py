"""The times of a call from its stereo recording alone, beside what the journal says: ``python -m bench.ear call.wav``.

    python -m bench.ear call.wav                         # what is heard
    python -m bench.ear call.wav --record record.json    # and what the journal says; exit status 1 if they differ
    python -m bench.ear --call                           # places a call of its own and compares; --write: RESULTS.md

The recording has the caller left and the agent right. The journal's clock begins when the call came in and the
recording somewhat later: how much later is found by laying the agent's turns of both upon each other. Waits and
interruptions are differences, which need no common beginning.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.hearing import Heard, listen
from bench.journal_times import Difference, compare, times_of
from bench.results import write_section

#: The recording and the journal must agree within this, in seconds.
AGREED = 0.04
HEADING = "The ear and the journal"
#: What the columns are, below a table.
COLUMNS = (
    "answer: the caller's last voiced sample to the agent's first; journal: the last voiced frame to PLAYBACK_START.",
    "interruption: the caller's first sample over the agent to the agent's last; journal: first voiced frame to the",
    "report of the clip that was stopped. Where a difference comes from is seen with both clocks laid upon each other",
    "by the turns' beginnings: the 10 to 30 ms from PLAYBACK_START to the first sound, which all turns share, show as",
    "a negative number at the other end.",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ear", description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", type=Path, help="stereo WAV, left the caller, right the agent")
    parser.add_argument("--record", type=Path, help="the journal of the same call, as records.directory keeps it")
    parser.add_argument("--call", action="store_true", help="place a call with the demo's number and compare")
    parser.add_argument("--natural", action="store_true", help="with --call: sentences fade out as they were recorded")
    parser.add_argument("--write", action="store_true", help="with --call: write the result into bench/RESULTS.md")
    wanted = parser.parse_args()
    if wanted.call:
        from gevent import monkey

        monkey.patch_all()
        from bench.ear_call import place

        heard, record, what = place(wanted.natural)
    elif wanted.recording is None:
        parser.error("name a recording, or --call")
    else:
        heard, what = listen(wanted.recording), wanted.recording.name
        record = json.loads(wanted.record.read_text()) if wanted.record else None
    lines, is_agreed = report(heard, record)
    print("\n".join((what, *lines)))
    if wanted.write and wanted.call:
        write_section(f"{HEADING}{', sentences that fade out' if wanted.natural else ''}", [what, *lines])
    return 0 if is_agreed else 1


def report(heard: Heard, record: dict[str, Any] | None) -> tuple[list[str], bool]:
    """The lines to print, and whether the journal agrees (True without one)."""
    lines = ["", *_statistics(heard)]
    if record is None:
        return [*lines, "", *_heard_table(heard)], True
    times = times_of(record["notes"])
    shift, differences = compare(heard, times)
    lines += ["", f"The recording begins {-shift:.3f} s after the journal.", "", *_compared_table(differences)]
    missing = len(times.answers) + len(times.interruptions) - len(differences)
    if missing:
        lines.append(f"\n{missing} of the journal's answers and interruptions were not heard.")
    unknown = len(heard.answers) + len(heard.interruptions) - len(differences)
    if unknown > 0:
        lines.append(f"\n{unknown} answers and interruptions were heard of which the journal says nothing.")
    lines += ["", *_verdict(differences), "", *COLUMNS]
    return lines, bool(differences) and not missing and all(abs(each.by) <= AGREED for each in differences)


def _statistics(heard: Heard) -> Iterator[str]:
    began, seconds = heard.dead_air
    yield (
        f"{heard.seconds:.1f} s; {len(heard.agent)} turns of the agent, {len(heard.caller)} stretches of the caller; "
        f"both speak for {heard.talk_over:.2f} s; longest silence {seconds:.2f} s, from {began:.1f} s on"
    )
    waits = sorted(each.wait for each in heard.answers)
    if waits:
        yield f"waits for an answer: median {_ms(waits[len(waits) // 2])} ms, longest {_ms(waits[-1])} ms"


def _heard_table(heard: Heard) -> Iterator[str]:
    yield from _head("at", "what", "ms")
    rows = [(each.caller_ended, "waits for an answer", each.wait) for each in heard.answers]
    rows += [(each.onset, "talks over the agent, who is silent after", each.took) for each in heard.interruptions]
    for at, what, seconds in sorted(rows):
        yield f"| {at:.2f} | {what} | {_ms(seconds)} |"


def _compared_table(differences: Sequence[Difference]) -> Iterator[str]:
    yield from _head(
        "turn", "at", "what", "ear, ms", "journal, ms", "journal - ear", "of it at its beginning", "its end"
    )
    for each in differences:
        cells = (each.ear, each.journal, each.by, each.at_beginning, each.at_end)
        yield f"| {each.turn} | {each.at:.2f} | {each.what} | {' | '.join(_ms(cell) for cell in cells)} |"


def _verdict(differences: Sequence[Difference]) -> Iterator[str]:
    for what in dict.fromkeys(each.what for each in differences):
        sizes = sorted(abs(each.by) for each in differences if each.what == what)
        over = sum(size > AGREED for size in sizes)
        yield (
            f"{what}: {len(sizes)} compared, they differ by {_ms(sizes[len(sizes) // 2])} ms in the median, "
            f"{_ms(sizes[-1])} ms at worst; {over} by more than {_ms(AGREED)} ms"
        )
    if not differences:
        yield "nothing to compare"


def _head(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"
    yield f"|{' --- |' * len(cells)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


if __name__ == "__main__":
    sys.exit(main())
