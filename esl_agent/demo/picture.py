"""``timeline.png``: the demo's call at a glance. Drawn from the recording and the journal; needs matplotlib."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from esl_agent.demo.findings import Clips, Silences, cut_after, joints, quoted, waits
from esl_agent.demo.narrator import STEPS, milliseconds
from esl_agent.demo.story import AgentSays, CallerSays, Handover, Story
from esl_agent.demo.voice import STEP, Recording, Voice

_CALLER, _AGENT, _CUT, _INK = "#0b6e99", "#c05a1c", "#b3123f", "#333333"
_RESUMED, _COLLEAGUE = "#3f7a1f", "#7a5299"
_STEP_COLOURS = ("#9db4c0", "#5c8001", "#8e6bbf", "#f2a541", "#c05a1c")
_LABELS = {
    "endpointing": "endpointing: sure that the caller has finished",
    "stt": "stt: words",
    "llm": "llm: first words of the answer",
    "tts": "tts: first clause spoken",
    "playback": "playback: FreeSWITCH begins",
}
#: Seconds around a barge-in that are shown in detail, and around a murmur.
_BEFORE, _AFTER = 0.8, 1.0
_BEFORE_MURMUR, _AFTER_MURMUR = 0.6, 1.9
#: Letters of the agent's words side by side over the whole width.
_LETTERS = 205
#: Decibels below full scale at which a lane's height is zero.
_FLOOR = -50.0


def draw(story: Story, recording: Recording, path: Path, clips: Clips | None = None) -> None:
    """The whole call in two lanes, a barge-in and a pause in detail, and where the time of each answer went."""
    silences = joints(story, recording, clips or {})
    figure = plt.figure(figsize=(16, 9.5), dpi=110)
    grid = figure.add_gridspec(2, 1, height_ratios=(1.15, 1.0), hspace=0.34)
    below = grid[1].subgridspec(1, 3, width_ratios=(0.8, 0.95, 1.2), wspace=0.4)
    _lanes(figure.add_subplot(grid[0]), story, recording, silences)
    _barge_in(figure.add_subplot(below[0]), story, recording)
    _pause(figure.add_subplot(below[1]), silences, recording)
    _answers(figure.add_subplot(below[2]), story, recording)
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def _lanes(axes: Any, story: Story, recording: Recording, silences: Silences) -> None:
    axes.set_title("One call: who speaks when, and what is understood", loc="left", fontweight="bold", color=_INK)
    _lane(axes, recording.caller, 1.35, _CALLER)
    _lane(axes, recording.agent.until(story.handover.rang) if story.handover else recording.agent, 0.0, _AGENT)
    letters = _LETTERS / max(20.0, recording.seconds)
    _caller_words(axes, story, recording.seconds, letters * 0.8)
    for turn in story.agent:
        axes.axvspan(turn.began, turn.ended, ymax=0.44, color=_AGENT, alpha=0.08, linewidth=0)
        lines = textwrap.wrap(
            turn.heard, max(11, int((turn.ended - turn.began) * letters * 0.95)), max_lines=7, placeholder=" …"
        )
        axes.text(turn.began, -0.08, "\n".join(lines), fontsize=8, color=_AGENT, va="top", linespacing=1.2)
    for (_, said), cut in zip(story.barge_ins, cut_after(story, recording), strict=True):
        axes.vlines(said.began, 0, 2.25, color=_CUT, linewidth=1.4, linestyle=(0, (4, 2)))
        words = f"barge-in: agent silent\nafter {milliseconds(cut)}"
        axes.text(said.began + 0.4, 1.13, words, color=_CUT, fontweight="bold", fontsize=9, va="center")
    for _, _, silence in silences:
        if silence is not None:
            axes.axvspan(silence.began, silence.ended, 0.33, 0.56, color=_RESUMED, alpha=0.18, linewidth=0)
            words = f"goes on\nafter {silence.silence:.1f} s"
            axes.text(silence.began, 1.13, words, color=_RESUMED, fontweight="bold", fontsize=8, va="center")
    if story.handover is not None:
        _handover(axes, story.handover, recording)
    if story.hung_up_by_agent is not None:
        axes.axvline(story.hung_up_by_agent, color=_INK, linewidth=1)
        axes.text(story.hung_up_by_agent, 1.12, "agent hangs up ", ha="right", va="center", fontsize=9, color=_INK)
    axes.set_xlim(0, recording.seconds + 0.3)
    axes.set_ylim(-1.55, 3.1)
    axes.set_yticks([0.45, 1.8], ["agent", "caller"], fontweight="bold", fontsize=11)
    for label, colour in zip(axes.get_yticklabels(), (_AGENT, _CALLER), strict=True):
        label.set_color(colour)
    axes.set_xlabel("seconds")
    _bare(axes)


def _lane(axes: Any, voice: Voice, base: float, colour: str, after: float = 0.0) -> None:
    """One side's levels, as far as they are after ``after``."""
    heights = _heights(voice)
    times = np.arange(len(heights)) * STEP
    shown = times >= after
    axes.fill_between(times[shown], base, base + heights[shown], color=colour, linewidth=0)


def _caller_words(axes: Any, story: Story, seconds: float, letters: float) -> None:
    """What was understood, above where it was said; what nobody was to understand, for what it is."""
    labels = [
        (said.began, f"“{said.understood}”" if said.understood else "(not understood)")
        for said in story.caller
        if said.wants_an_answer
    ]
    labels += [(said.began, quoted(said).replace(", ", ",\n")) for said, _ in story.murmurs]
    after = story.handover.decided if story.handover else None
    to_colleague = [said for said in story.spoken if after is not None and said.began > after]
    if to_colleague:
        labels.append((to_colleague[0].began, "\n".join(quoted(said) for said in to_colleague)))
    labels.sort()
    for (began, words), (following, _) in zip(labels, [*labels[1:], (seconds, "")], strict=True):
        width = max(9, min(20, int((following - began) * letters)))
        text = words if "\n" in words else textwrap.fill(words, width)
        axes.text(began, 2.33, text, fontsize=8.5, color=_CALLER, va="bottom")


def _handover(axes: Any, handover: Handover, recording: Recording) -> None:
    """Ringing and the colleague, in the lane of what the caller hears."""
    until = handover.decided if handover.decided is not None else recording.seconds
    axes.axvspan(handover.rang, until, ymax=0.56, color=_COLLEAGUE, alpha=0.08, linewidth=0)
    words = "it rings;\nthe colleague\nhears the briefing" if handover.answered is not None else "it rings"
    axes.text(handover.rang + 0.2, -0.08, words, fontsize=8, color=_COLLEAGUE, va="top", linespacing=1.2)
    _lane(axes, recording.agent, 0.0, _COLLEAGUE, after=handover.rang)
    if handover.decided is not None:
        axes.vlines(handover.decided, 0, 2.25, color=_COLLEAGUE, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.text(
            handover.decided + 0.3,
            1.13,
            "colleague\nconnected",
            color=_COLLEAGUE,
            fontweight="bold",
            fontsize=9,
            va="center",
        )
        axes.text(handover.decided + 0.2, -0.08, "colleague", fontsize=8, color=_COLLEAGUE, va="top")


def _heights(voice: Voice) -> Any:
    """The level of each 10 ms as 0..0.95 between _FLOOR and full scale."""
    decibels = 20 * np.log10(np.maximum(voice.levels, 1.0) / 32768)
    return np.clip((decibels - _FLOOR) / -_FLOOR, 0.0, 1.0) * 0.95


def _barge_in(axes: Any, story: Story, recording: Recording) -> None:
    axes.set_title("The barge-in in detail", loc="left", fontweight="bold", color=_INK)
    _bare(axes)
    axes.set_yticks([])
    if not story.barge_ins:
        axes.text(0.5, 0.5, "nobody was interrupted", ha="center", transform=axes.transAxes, color=_INK)
        return
    (_, said), cut = story.barge_ins[0], cut_after(story, recording)[0]
    onset = said.began
    _waveforms(axes, recording, onset, _BEFORE, _AFTER)
    axes.axvspan(0, cut * 1000, color=_CUT, alpha=0.12, linewidth=0)
    decided = said.noticed - onset
    for seconds in (0.0, decided, cut):
        axes.axvline(seconds * 1000, color=_CUT, linewidth=1.2, linestyle=(0, (4, 2)))
    right = max(decided, cut) * 1000 + 14
    for x, y, text, side in (
        (-14, 2.5, "caller begins", "right"),
        (right, 2.5, f"decided to stop: {milliseconds(decided)}", "left"),
        (right, 2.2, f"agent silent: {milliseconds(cut)}", "left"),
    ):
        axes.text(x, y, text, ha=side, va="center", color=_CUT, fontsize=9, fontweight="bold")


def _pause(axes: Any, silences: Silences, recording: Recording) -> None:
    """The last murmur for which the agent paused."""
    axes.set_title("A pause in detail", loc="left", fontweight="bold", color=_INK)
    _bare(axes)
    axes.set_yticks([])
    found = [(said, silence) for said, _, silence in silences if silence is not None]
    if not found:
        axes.text(0.5, 0.5, "the agent never paused", ha="center", transform=axes.transAxes, color=_INK)
        return
    said, silence = found[-1]
    _waveforms(axes, recording, said.began, _BEFORE_MURMUR, _AFTER_MURMUR)
    stopped, went_on = (at - said.began for at in (silence.began, silence.ended))
    axes.axvspan(stopped * 1000, went_on * 1000, color=_RESUMED, alpha=0.15, linewidth=0)
    apart = "" if silence.missing is None else f"; {abs(silence.missing):.2f} s lost or said twice"
    for y, text in ((2.5, f"{quoted(said)}: agent silent for {silence.silence:.2f} s,"), (2.2, f"then goes on{apart}")):
        axes.text(-_BEFORE_MURMUR * 1000, y, text, va="center", color=_RESUMED, fontsize=9, fontweight="bold")


def _waveforms(axes: Any, recording: Recording, onset: float, before: float, after: float) -> None:
    """Both sides around the caller's first sound at ``onset``."""
    for voice, base, colour in ((recording.caller, 1.1, _CALLER), (recording.agent, -1.1, _AGENT)):
        first, last = (max(0, int((onset + shift) * voice.rate)) for shift in (-before, after))
        part = voice.samples[first:last]
        times = (np.arange(len(part)) + first) / voice.rate - onset
        axes.plot(times * 1000, base + part / max(1.0, np.abs(part).max(initial=1.0)), color=colour, linewidth=0.5)
    axes.set_ylim(-2.3, 2.85)
    axes.set_xlim(-before * 1000, after * 1000)
    axes.set_yticks([-1.1, 1.1], ["agent", "caller"], fontweight="bold")
    for label, colour in zip(axes.get_yticklabels(), (_AGENT, _CALLER), strict=True):
        label.set_color(colour)
    axes.set_xlabel("ms from the caller's first sound")


def _answers(axes: Any, story: Story, recording: Recording) -> None:
    axes.set_title("From the caller's last voice to the agent's first sound", loc="left", fontweight="bold", color=_INK)
    rows: list[tuple[CallerSays, AgentSays]] = [
        (said, turn) for said in story.caller if (turn := story.answered_by(said)) and "latency" in turn.spans
    ]
    for row, (_, turn) in enumerate(rows):
        left = 0.0
        for name, colour in zip(STEPS, _STEP_COLOURS, strict=True):
            width = turn.spans.get(name, 0.0) * 1000
            axes.barh(row, width, 0.62, left=left, color=colour, label=_LABELS.get(name, name) if row == 0 else None)
            if width >= 60:
                axes.text(left + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=8.5, color="white")
            left += width
        total = turn.spans["latency"] * 1000
        axes.text(max(left, total) + 8, row, f"{total:.0f} ms", va="center", fontweight="bold", color=_INK, fontsize=9)
    axes.set_yticks(range(len(rows)), [textwrap.fill(said.understood, 20) for said, _ in rows], fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlabel(_measured(story, recording))
    _bare(axes)
    if rows:
        axes.margins(x=0.14)
        axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.13), ncols=3, frameon=False, fontsize=8.5)


def _measured(story: Story, recording: Recording) -> str:
    pauses = sorted(waits(story, recording))
    if not pauses:
        return "ms"
    return f"ms  (in the recording: {pauses[0]:.2f} to {pauses[-1]:.2f} s after the end of the caller's sentence)"


def _bare(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
