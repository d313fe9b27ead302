"""What the demo's recording shows, measured in its samples, and whether the call was what it should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from esl_agent.audio.pcm import Sound
from esl_agent.demo.resumed import Joint, joint, only
from esl_agent.demo.story import AgentSays, Handover, Story
from esl_agent.demo.voice import Recording, Samples, voice_of
from esl_agent.testing.caller import Spoken, recorded_text

#: A side that is heard for less than this has not taken part.
SOME_VOICE = 2.0
#: An agent that goes on for longer than this after the caller's first sound was not interrupted.
PROMPTLY = 0.5
#: An agent that is silent for longer than this because of a murmur has lost its thread.
PAUSE = 2.0

#: So many seconds of anything but the colleague may be heard after the connection: the end of a ringing tone.
AGENT_AFTERWARDS = 0.1

#: (turn, clip) -> the whole of its sound, as the caller's line carried it.
Clips = Mapping[tuple[int, int], Samples]
Verdict = tuple[bool, str]
Silences = list[tuple[Spoken, AgentSays | None, Joint | None]]


def cut_after(story: Story, recording: Recording) -> list[float]:
    """For each barge-in: how long the agent was still heard after the caller's first sound, in seconds."""
    return [recording.agent.silent_from(said.began) - said.began for _, said in story.barge_ins]


def waits(story: Story, recording: Recording) -> list[float]:
    """For each answered sentence: from the end of the caller's recording to the agent's first sound, in seconds."""
    found = []
    for said in story.caller:
        if said.spoken and (turn := story.answered_by(said)):
            first = recording.agent.first_heard(turn.began)
            if first is not None:
                found.append(first - said.ended)
    return found


def joints(story: Story, recording: Recording, clips: Clips) -> Silences:
    """For each murmur over the agent: the turn it was over, and the agent's silence for it, if there was one."""
    found: Silences = []
    for said, turn in story.murmurs:
        pause = next((p for p in turn.pauses if said.began <= p.began <= said.ended + 0.5), None) if turn else None
        of_turn = {clip: sound for (number, clip), sound in clips.items() if turn and number == turn.number}
        found.append((said, turn, joint(recording.agent, pause, of_turn) if pause else None))
    return found


def verdicts(story: Story, recording: Recording, wanted_answers: int, clips: Clips | None = None) -> list[Verdict]:
    """Everything the demo promises: (whether it is so, what was found)."""
    return [
        _answered(story, wanted_answers),
        _interrupted(story, recording),
        *(_went_on(*each) for each in joints(story, recording, clips or {})),
        _both_heard(story, recording),
        _last_words(story, recording),
        *(_handed_over(story.handover, recording) if story.handover else ()),
    ]


def _answered(story: Story, wanted: int) -> Verdict:
    sentences = [said for said in story.caller if said.wants_an_answer]
    answered = [said for said in sentences if said.understood and story.answered_by(said)]
    return len(answered) >= wanted, f"{len(answered)} of {len(sentences)} sentences understood and answered"


def _interrupted(story: Story, recording: Recording) -> Verdict:
    cuts = cut_after(story, recording)
    meant = sum(said.purpose == "barge_in" for said in story.spoken)
    found = "".join(f"; agent silent {cut:.2f} s after the caller's first sound" for cut in cuts)
    return len(cuts) == meant and all(cut <= PROMPTLY for cut in cuts), f"{len(cuts)} barge-in{found}"


def _went_on(said: Spoken, turn: AgentSays | None, silence: Joint | None) -> Verdict:
    name = quoted(said)
    if turn is None:
        return False, f"{name} was not over the agent"
    if turn.interrupted or turn.heard != turn.text:
        return False, f'{name} took the floor: only "{turn.heard}" was heard'
    if silence is None:
        return True, f"{name} over the agent: it spoke on, to the end"
    if not silence.is_within_clip:
        where = "went on with the next clause"
    elif silence.missing is None:
        where = "went on, where is not to be told from the recording"
    elif silence.is_seamless:
        where = f"went on where it had stopped ({abs(silence.missing):.2f} s lost or said twice)"
    else:
        lost = "are missing" if silence.missing > 0 else "were said twice"
        where = f"went on elsewhere: {abs(silence.missing):.2f} s {lost}"
    is_fine = silence.is_seamless and silence.silence <= PAUSE
    return is_fine, f"{name} over the agent: silent for {silence.silence:.2f} s, {where}, and said all of it"


def quoted(said: Spoken) -> str:
    """What the caller let be heard: the text of a recording, or what a synthetic sound is."""
    text = recorded_text(said.what)
    return text if text.startswith("[") else f'"{text}"'


def _both_heard(story: Story, recording: Recording) -> Verdict:
    agent = recording.agent.until(story.handover.rang) if story.handover else recording.agent
    voices = recording.caller, agent
    heard = ", ".join(
        f"{who} {voice.seconds:.1f} s at {voice.loudness:.0f} dBFS"
        for who, voice in zip(("caller", "agent"), voices, strict=True)
    )
    return all(voice.seconds >= SOME_VOICE for voice in voices), f"both are on the recording: {heard}"


def _last_words(story: Story, recording: Recording) -> Verdict:
    """Whatever the agent said last was heard before it left the caller."""
    last = story.agent[-1] if story.agent else None
    left = story.handover.rang if story.handover else story.hung_up_by_agent
    how = "called the colleague" if story.handover else "hung up"
    if last is None or left is None or last.interrupted or last.heard != last.text:
        return False, "the call did not end with last words that were heard"
    is_heard = recording.agent.first_heard(last.began) is not None and left >= last.ended - 0.05
    return is_heard, f'"{last.heard}" was heard to its end before the agent {how}'


def _handed_over(handover: Handover, recording: Recording) -> Iterator[Verdict]:
    briefed = handover.decided is not None and handover.answered is not None and handover.briefing is not None
    if not briefed or handover.decided is None or handover.answered is None:
        yield False, f"nobody took the call at {handover.who} after having been told what it is about"
        return
    heard = handover.decided - handover.answered
    briefing = voice_of(samples_of(handover.briefing, recording.agent.rate), recording.agent.rate)
    takes = briefing.silent_from(briefing.first_heard(0.0) or 0.0)
    yield (
        heard >= takes,
        f"the colleague heard the briefing ({takes:.1f} s), pressed 1 after {heard:.1f} s and has the caller",
    )
    rate = recording.agent.rate
    after = only(recording.agent, samples_of(handover.says, rate), handover.decided)
    is_silent = after <= AGENT_AFTERWARDS
    yield (
        is_silent,
        "from then on the caller heard the colleague and nothing else"
        if is_silent
        else f"{after:.1f} s of something else than the colleague was heard after the connection",
    )


def samples_of(sound: Sound | None, rate: int) -> Samples:
    """``sound`` as it is compared here; ValueError if it has another rate."""
    if sound is None:
        return np.zeros(0)
    if sound.rate != rate:
        raise ValueError(f"expected sound at {rate} Hz, got {sound.rate}")
    return np.frombuffer(sound.pcm, "<i2").astype(np.float64)
