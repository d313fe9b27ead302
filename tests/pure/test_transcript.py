"""What was said, and how much of it is kept."""

from __future__ import annotations

from esl_agent.dialogue.transcript import Transcript


def talk(transcript: Transcript, pairs: int) -> Transcript:
    """A conversation in which the caller coughs a lot."""
    for number in range(pairs):
        for cough in range(3):
            transcript.open_utterance(4 * number + cough)
        transcript.open_utterance(4 * number + 3)
        transcript.understood(4 * number + 3, f"question {number}")
        transcript.open_turn(number)
        transcript.spoken(number, 0, f"answer {number}", 1.0)
        transcript.heard(number, 0, 1.0)
    return transcript


def test_a_call_of_hours_needs_no_more_memory_than_a_long_one():
    sizes = [
        [len(each) for each in (it._entries, it._utterances, it._turns)]
        for it in (talk(Transcript(40), pairs) for pairs in (1000, 4000))
    ]
    assert all(size < 1000 for of_one in sizes for size in of_one)


def test_what_a_model_is_sent_is_the_same_as_if_nothing_were_forgotten():
    whole, bounded = talk(Transcript(), 1000), talk(Transcript(40), 1000)
    assert bounded.messages("Be kind.", 40) == whole.messages("Be kind.", 40)


def test_words_and_reports_for_what_is_forgotten_are_nothing():
    it = talk(Transcript(2), 100)
    before = it.messages()
    it.understood(0, "late")
    it.heard(0, 0, 1.0)
    it.returned(0, "1", "late")
    assert it.agent_text(0) == ""
    assert it.messages() == before
