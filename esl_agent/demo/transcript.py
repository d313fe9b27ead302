"""``transcript.txt``: what was said on the demo's call, and what arrived of it at the other side. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from esl_agent.demo.colleague import WORDS
from esl_agent.demo.narrator import clock
from esl_agent.demo.story import AgentSays, CallerSays, Handover, Story
from esl_agent.testing.caller import SYNTHETIC, Spoken, recorded_text


def transcript(story: Story) -> Iterator[str]:
    """The conversation line by line: what was said, and what arrived of it at the other side."""
    yield "One call, as each side heard the other. Minutes and seconds of call.wav."
    yield ""
    both: list[CallerSays | AgentSays] = [*story.caller, *story.agent]
    for each in sorted(both, key=lambda one: one.began):
        if isinstance(each, CallerSays):
            yield f"{clock(each.began):>7}  caller  said        {_said(each.spoken)}"
            yield f"                 understood  {each.understood or '-'}"
            if not each.wants_an_answer:
                yield "                             (it leaves the floor to the agent)"
        else:
            yield f"{clock(each.began):>7}  agent   said        {each.text}"
            if each.interrupted:
                heard, text = len(each.heard.split()), len(each.text.split())
                yield f"                 heard       {each.heard or '-'}"
                yield f"                             (the caller cut in after {heard} of the {text} words made ready)"
            elif each.heard != each.text:
                yield f"                 heard       {each.heard or '-'}"
            for pause in each.pauses:
                yield f"{clock(pause.began):>7}          paused      for {pause.ended - pause.began:.1f} s, and went on"
        yield ""
    if story.handover is not None:
        yield from _handed_over(story.handover, story)
    if story.hung_up_by_agent is not None:
        yield f"{clock(story.hung_up_by_agent):>7}  the agent hangs up"


def _handed_over(handover: Handover, story: Story) -> Iterator[str]:
    yield f"{clock(handover.rang):>7}  telephone {handover.who} rings"
    if handover.answered is not None:
        yield f"{clock(handover.answered):>7}  a colleague answers and hears the briefing (briefing.wav)"
    if handover.decided is None:
        return
    yield f"{clock(handover.decided):>7}  the colleague presses 1: caller and colleague are connected"
    yield ""
    yield f"{clock(handover.decided):>7}  colleague  {recorded_text(WORDS)}"
    for said in story.spoken:
        if said.began > handover.decided:
            yield f"{clock(said.began):>7}  caller     {_said(said)}"


def _said(spoken: Spoken | None) -> str:
    if spoken is None:
        return "nothing: a noise was taken for speech"
    text = recorded_text(spoken.what)
    return text if spoken.what in SYNTHETIC else f"{text}  [{spoken.what.replace('+', ' + ')}]"
