from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.clauses import MAX_CLAUSE_CHARS, ClauseCutter


def cut(*pieces: str) -> list[str]:
    cutter = ClauseCutter()
    clauses = [clause for piece in pieces for clause in cutter.feed(piece)]
    return clauses + cutter.flush()


def test_a_sentence_is_spoken_as_soon_as_the_next_one_begins():
    cutter = ClauseCutter()
    assert cutter.feed("We are open.") == []
    assert cutter.feed(" From") == ["We are open."]
    assert cutter.flush() == ["From"]


def test_numbers_times_and_titles_are_not_torn_apart():
    assert cut("It costs 3.5 euros. Ask Dr. Smith at 9:30 a.m. or later. Yes.") == [
        "It costs 3.5 euros.",
        "Ask Dr. Smith at 9:30 a.m. or later.",
        "Yes.",
    ]


def test_a_long_first_sentence_begins_at_its_first_comma_but_later_ones_stay_whole():
    text = "If you would like to come by, we are open until five. If not, well, then call again, please."
    assert cut(text) == [
        "If you would like to come by,",
        "we are open until five.",
        "If not, well, then call again, please.",
    ]


def test_a_long_first_sentence_begins_at_its_first_dash_too_but_not_among_numbers():
    assert cut("You are right about that one - we moved. Bye.") == [
        "You are right about that one",
        "we moved.",
        "Bye.",
    ]
    assert cut("The numbers that were drawn are 3, 14, 15 and 92.") == [
        "The numbers that were drawn are 3, 14, 15 and 92."
    ]


def test_what_cannot_be_spoken_is_left_out():
    assert cut("... \n --- \n * ") == []


@given(st.lists(st.text(alphabet="ab ,.!?\n9", max_size=80), max_size=12))
def test_every_word_is_spoken_once_in_order_however_the_text_arrives(pieces):
    clauses = cut(*pieces)
    words = [c for c in "".join(pieces) if c.isalnum()]
    assert [c for clause in clauses for c in clause if c.isalnum()] == words
    assert all(len(clause) <= MAX_CLAUSE_CHARS + 1 for clause in clauses)


def test_a_long_reply_in_one_piece_of_nothing_but_abbreviations_is_cut_at_once():
    """Quadratic work would take minutes, in which every call waits."""
    assert "".join(cut("A. " * 6000)).replace(" ", "") == "A." * 6000
