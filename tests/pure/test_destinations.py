"""Where calls may go: names the operator wrote, numbers he allowed, and nothing else whatever a model writes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esl_agent.dialogue.destinations import (
    Destination,
    DestinationSettings,
    Policy,
    Refusal,
    TransferSettings,
    check_names,
    is_emergency,
)

NAMED = {
    "Reception": DestinationSettings(number="1000", say="One moment."),
    "night-desk": DestinationSettings(dial="sofia/gateway/pstn/+4930555", mode="warm", timeout=12),
    "ambulance": DestinationSettings(number="112"),
}
TEMPLATE = "{absolute_codec_string=PCMU}sofia/gateway/pstn/{number}@carrier"
OPEN = TransferSettings(allow=("+4930", "+49900", "+1", "10", "0"), mode="warm", dial=TEMPLATE)


def resolve(asked: str, transfer: TransferSettings = OPEN) -> Destination | Refusal:
    return Policy(NAMED, transfer).resolve(asked)


@pytest.mark.parametrize("asked", ["Reception", "reception", " RECEPTION! ", "'reception'"])
def test_a_name_is_found_however_it_is_written(asked):
    assert resolve(asked) == Destination("Reception", "1000 XML default", "blind", "One moment.")


def test_a_name_with_an_accent_is_found_however_the_accent_was_typed():
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    for written, asked in ((composed, decomposed), (decomposed, composed), ("STRASSE", "stra\u00dfe")):
        assert isinstance(Policy({written: NAMED["Reception"]}, OPEN).resolve(asked), Destination)
    with pytest.raises(ValueError, match="one name"):
        check_names({composed: NAMED["Reception"], decomposed: NAMED["Reception"]})
    assert isinstance(Policy({composed: NAMED["Reception"]}, OPEN).resolve("Muller"), Refusal)


def test_a_blind_transfer_goes_to_the_context_the_operator_named():
    found = resolve("reception", TransferSettings(context="public"))
    assert isinstance(found, Destination)
    assert found.target == "1000 XML public"


def test_a_warm_destination_is_dialled_as_the_operator_wrote_it_and_rings_as_long():
    found = resolve("Night Desk")
    assert isinstance(found, Destination)
    assert (found.mode, found.target) == ("warm", "{leg_timeout=12}sofia/gateway/pstn/+4930555")
    assert "{summary}" in found.briefing


def test_without_allowed_prefixes_no_number_is_reached_not_even_a_destinations_own():
    for asked in ("1000", "+4930123456", "+4930555"):
        assert isinstance(resolve(asked, TransferSettings()), Refusal)


def test_an_allowed_number_is_put_into_the_operators_template():
    found = resolve(" +49 (30) 123-456 ")
    assert isinstance(found, Destination)
    assert found.name == "+4930123456"
    assert found.target == "{leg_timeout=25}{absolute_codec_string=PCMU}sofia/gateway/pstn/+4930123456@carrier"


@pytest.mark.parametrize("asked", ["+49 (0) 30 123456", "+49(0)30-123456", "+49 030 123456", "+490030123456"])
def test_a_trunk_zero_is_not_dialled(asked):
    assert getattr(resolve(asked), "name", None) == "+4930123456"


def test_what_is_resolved_again_by_its_name_is_the_same():
    for asked in ("reception", "night desk", "+49 30 123456"):
        found = resolve(asked)
        assert isinstance(found, Destination)
        assert resolve(found.name) == found


@pytest.mark.parametrize(
    "asked",
    [
        "112", "911", "110", "0112", "9911", "00112", "+112", "999",
        "+49900123456", "0049900123456", "01149900123456", "0900123456", "+19005551234",
        "+33123456789", "+44301234567", "123456789012345678",
        "+4930", "sofia/gateway/pstn/+4930123456", "user/1000", "+4930123456@evil", "1000 XML default",
        "+4930123456,user/1000", "${system(id)}", "{x=y}1000", "reception; 0900", "", " ", "++4930123456", "+",
        "\u0661\u0660\u0660\u0660", "&park()", "loopback/112",
    ],
)  # fmt: skip
def test_what_nobody_allowed_is_refused(asked):
    assert isinstance(resolve(asked), Refusal)


ANYTHING = TransferSettings(allow=("0", "1", "9", "+1", "+39", "+49", "+60"))


@pytest.mark.parametrize(
    "asked",
    [
        "+49 0900 123456", "+49/0/900 123456", "00 49 0900 123456", "0900 123456", "0 0900 123456", "9 0900 123456",
        "0 00 49 900 123456", "9 011 49 900 123456", "9 00 49 0900 12345", "1 900 555 1234", "9 1 900 555 1234",
        "+1 0900 555 1234", "0011 44 9 1234567", "00 883 5100 12345",
    ],
)  # fmt: skip
def test_a_premium_number_stays_out_of_reach_however_it_is_dialled(asked):
    assert resolve(asked, ANYTHING) == Refusal("premium numbers are not called")


@pytest.mark.parametrize(
    "asked",
    [
        "1900",
        "90137",
        "+39 0144 123456",
        "+60 11 9123 4567",
        "912345678",
        "0 30 1234567",
        "9 1 212 555 1234",
    ],
)
def test_a_number_that_merely_looks_like_premium_is_called(asked):
    assert isinstance(resolve(asked, ANYTHING), Destination)


@pytest.mark.parametrize("asked", ["+49 170 1234567", "+49 0170 1234567", "0049 170 1234567", "9 0049 170 123456"])
def test_what_is_denied_is_refused_however_it_is_dialled(asked):
    caps = TransferSettings(allow=("+49", "0", "9"), deny=("+4917",))
    assert resolve(asked, caps) == Refusal("calls to that number are not allowed")


def test_an_emergency_number_is_reached_by_the_name_the_operator_gave_it():
    found = resolve("ambulance")
    assert isinstance(found, Destination)
    assert found.target == "112 XML default"


@pytest.mark.parametrize("number", ["1000", "2911", "+4930112", "30110", "4711", "10112"])
def test_an_extension_that_merely_ends_like_one_is_no_emergency_number(number):
    assert not is_emergency(number)


def test_of_allow_and_deny_the_longer_prefix_wins():
    caps = TransferSettings(allow=("+49", "+4930555"), deny=("+4930",))
    assert isinstance(resolve("+4940123456", caps), Destination)
    assert isinstance(resolve("+4930123456", caps), Refusal)
    assert isinstance(resolve("+4930555123", caps), Destination)


def test_a_minute_costs_what_the_longest_prefix_says():
    caps = TransferSettings(allow=("+49",), costs={"+49": 0.02, "+4930": 0.01})
    assert [getattr(resolve(n, caps), "cost_per_minute", None) for n in ("+4940123456", "+4930123456")] == [0.02, 0.01]
    assert getattr(resolve("night desk", caps), "cost_per_minute", None) == 0.01


def test_a_minute_costs_the_same_however_the_number_is_dialled():
    caps = TransferSettings(allow=("0", "9"), costs={"+49": 0.02, "0": 0.01})
    assert getattr(resolve("0049 40 123456", caps), "cost_per_minute", None) == 0.02
    assert getattr(resolve("9 011 49 40 123456", caps), "cost_per_minute", None) == 0.02
    assert getattr(resolve("040 123456", caps), "cost_per_minute", None) == 0.01


#: Nothing of what was asked is repeated.
REASONS = {
    "that is no destination",
    "there is no such destination; known are: Reception, night-desk, ambulance",
    "that number has too few or too many digits to be called",
    "emergency and service numbers are not called",
    "premium numbers are not called",
    "calls to that number are not allowed",
}
TEXT = st.one_of(
    st.text(max_size=120),
    st.text("0123456789+*# ()-./", max_size=40),
    st.from_regex(r"(\+49|\+4930|0|10)[0-9 ()/.-]{0,20}[^0-9]{0,3}", fullmatch=True),
    st.sampled_from([f"+4930123456{tail}" for tail in ("\n", "'", ",1000", "@x", "}", "${a}", "\u0663")]),
)


@given(TEXT)
def test_whatever_a_model_asks_only_digits_of_it_reach_a_dial_string(asked):
    found = resolve(asked)
    if isinstance(found, Refusal):
        assert found.reason in REASONS
        return
    named = {"1000 XML default", "112 XML default", "{leg_timeout=12}sofia/gateway/pstn/+4930555"}
    before, after = f"{{leg_timeout=25}}{TEMPLATE}".split("{number}")
    pattern = re.escape(before) + r"[0-9*#+]{1,16}" + re.escape(after)
    assert found.target in named or re.fullmatch(pattern, found.target), found


@given(TEXT)
def test_whatever_a_model_asks_a_blind_transfer_is_three_words(asked):
    found = resolve(asked, TransferSettings(allow=OPEN.allow))
    if isinstance(found, Destination) and found.mode == "blind":
        assert re.fullmatch(r"[0-9*#+]{1,32} XML default", found.target)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: DestinationSettings(mode="warm"), "needs dial"),
        (lambda: DestinationSettings(mode="blind"), "needs number"),
        (lambda: TransferSettings(allow=("+49x",)), "'+49x'"),
        (lambda: TransferSettings(allow=("+49",), mode="warm", dial="user/1000"), "{number}"),
        (lambda: TransferSettings(costs={"+49": -1.0}), "0 or more"),
        (lambda: check_names({"a b": NAMED["Reception"], "A-B": NAMED["Reception"]}), "one name"),
        (lambda: check_names({"!": NAMED["Reception"]}), "'!'"),
    ],
)
def test_a_mistake_of_the_operator_is_said(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        settings()
