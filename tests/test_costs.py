"""What calls cost, and what becomes of one that costs too much."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esl_agent.advice import unpriced
from esl_agent.config import check, load
from esl_agent.costs import MAX_COUNT, Budget, CallCosts, DayTotals, Passed
from esl_agent.errors import Stage
from esl_agent.lineup import Lineup, make_lineup
from esl_agent.prices import Price, Tariff, check_price_name
from esl_agent.providers.base import Usage, Used

STAGES: tuple[Stage, ...] = ("stt", "llm", "tts", "agent")
TARIFF = Tariff(
    {
        "openai": Price(input=2.0, cached_input=0.5, output=8.0),
        "openai/small*": Price(input=0.2, output=0.8),
        "openai/small-but-dear": Price(input=100.0, output=100.0),
        "deepgram": Price(minute=0.006),
        "elevenlabs": Price(characters=0.1),
        "rasa": Price(request=0.01),
        "piper": Price(),
        "agent": Price(
            input=0.6, cached_input=0.06, output=2.4, audio_input=10.0, cached_audio_input=0.3, audio_output=20
        ),
    },
    "EUR",
)
NAMES = (
    "openai/large",
    "openai/small",
    "openai/small-but-dear",
    "deepgram/nova",
    "elevenlabs",
    "rasa",
    "piper",
    "new",
    "agent/x",
)


class Calendar:
    today = date(2026, 5, 1)

    def __call__(self) -> date:
        return self.today


TODAY = Calendar()


def a_call(
    budget: Budget | None = None,
    days: DayTotals | None = None,
    *,
    tariff: Tariff = TARIFF,
    did: str = "5000",
    today: Callable[[], date] = TODAY,
) -> CallCosts:
    return CallCosts(did, budget or Budget(), tariff, days or DayTotals(), today)


def spend(costs: CallCosts, amount: float) -> None:
    """Use up ``amount`` euros' worth of speech."""
    costs.used(Used("tts", "elevenlabs", Usage(characters=round(amount * 10_000))))


# Prices


def test_each_unit_has_its_price():
    assert TARIFF.cost("openai", Usage(input_tokens=1_000_000)) == 2.0
    assert TARIFF.cost("openai", Usage(output_tokens=500_000)) == 4.0
    assert TARIFF.cost("deepgram", Usage(seconds=90.0)) == pytest.approx(0.009)
    assert TARIFF.cost("elevenlabs", Usage(characters=2500)) == pytest.approx(0.25)
    assert TARIFF.cost("rasa", Usage(), requests=3) == pytest.approx(0.03)


def test_cached_tokens_are_part_of_the_input_and_cheaper_where_that_is_said():
    assert TARIFF.cost("openai", Usage(input_tokens=1_000_000, cached_tokens=600_000)) == pytest.approx(0.8 + 0.3)
    assert TARIFF.cost("openai/small", Usage(input_tokens=1_000_000, cached_tokens=600_000)) == pytest.approx(0.2)


def test_tokens_of_sound_have_prices_of_their_own_where_these_are_given():
    sound_in, million = Usage(input_tokens=2_000_000, audio_input_tokens=1_000_000), 1_000_000
    assert TARIFF.cost("agent/x", sound_in) == pytest.approx(0.6 + 10)
    assert TARIFF.cost("openai", sound_in) == pytest.approx(2 * 2.0)
    cached = Usage(input_tokens=million, cached_tokens=million, audio_input_tokens=million, cached_audio_tokens=million)
    assert TARIFF.cost("agent/x", cached) == pytest.approx(0.3)
    assert TARIFF.cost("openai", cached) == pytest.approx(0.5)
    spoken = Usage(output_tokens=million, audio_output_tokens=750_000)
    assert TARIFF.cost("agent/x", spoken) == pytest.approx(0.25 * 2.4 + 0.75 * 20)
    assert TARIFF.cost("openai", spoken) == pytest.approx(8.0)


def test_the_longest_match_names_the_price():
    cost = {name: TARIFF.cost(name, Usage(input_tokens=1_000_000)) for name in NAMES[:3]}
    assert cost == {"openai/large": 2.0, "openai/small": 0.2, "openai/small-but-dear": 100.0}
    assert TARIFF.find("openai/small-of-june") == TARIFF.find("openai/small")
    assert TARIFF.find("openaiish") is None


def test_a_model_whose_name_has_slashes_belongs_to_the_engine_before_the_first():
    assert TARIFF.find("openai/meta/llama") == TARIFF.find("openai")


@pytest.mark.parametrize("name", ["", "/x", "op*", "*", "openai/a*b", " openai", "op*/x", "openai/x* "])
def test_a_name_that_no_engine_could_have_is_no_key_of_prices(name):
    with pytest.raises(ValueError, match="expected an engine"):
        check_price_name(name)


@pytest.mark.parametrize("name", ["openai", "openai/gpt-x", "openai/gpt-x*", "openai/meta/llama*", "openai/*"])
def test_a_key_of_prices_is_an_engine_with_or_without_its_model_or_how_these_begin(name):
    check_price_name(name)


# Adding up

odd_numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.integers(0, 5000), st.floats(), st.sampled_from([math.inf, -math.inf, math.nan])
)
usages = st.builds(
    Usage,
    input_tokens=odd_numbers,
    cached_tokens=odd_numbers,
    output_tokens=odd_numbers,
    characters=odd_numbers,
    seconds=odd_numbers,
    audio_input_tokens=odd_numbers,
    cached_audio_tokens=odd_numbers,
    audio_output_tokens=odd_numbers,
)
requests = st.lists(st.builds(Used, st.sampled_from(STAGES), st.sampled_from(NAMES), usages), max_size=30)


@settings(max_examples=300)
@given(requests)
def test_the_total_is_the_sum_of_its_parts_and_never_falls_whatever_servers_count(uses):
    days = DayTotals()
    costs = a_call(days=days)
    totals = [0.0]
    for used in uses:
        costs.used(used)
        totals.append(costs.total)
    record = costs.record()
    sum_of_parts = math.fsum(part.get("cost", 0.0) for part in record["parts"])
    assert record["total"] == pytest.approx(sum_of_parts, abs=1e-7, rel=1e-9)
    assert all(before <= after < math.inf for before, after in pairwise(totals))
    assert days.of("5000", TODAY()).spent == pytest.approx(costs.total)
    assert sum(part["requests"] for part in record["parts"]) == len(uses)
    for part in costs.parts:
        assert 0 <= part.usage.cached_audio_tokens <= part.usage.audio_input_tokens <= part.usage.input_tokens
        assert part.usage.cached_tokens - part.usage.cached_audio_tokens >= 0
        assert 0 <= part.usage.audio_output_tokens <= part.usage.output_tokens
        assert 0 <= part.usage.cached_tokens <= part.usage.input_tokens <= len(uses) * MAX_COUNT
    json.dumps(record, allow_nan=False)


@given(requests, st.randoms())
def test_in_which_order_requests_end_does_not_matter(uses, chance):
    one, other = a_call(), a_call()
    for used in uses:
        one.used(used)
    chance.shuffle(uses)
    for used in uses:
        other.used(used)
    assert one.total == pytest.approx(other.total)


def test_a_failed_attempt_counts_what_it_used_and_not_what_the_next_one_did():
    costs = a_call()
    costs.used(Used("tts", "elevenlabs", Usage(characters=0)))  # refused before anything was made
    costs.used(Used("tts", "piper", Usage(characters=1000)))  # the fallback that said it
    assert costs.total == 0.0
    assert costs.variables()["esl_agent_tts_characters"] == "1000"


def test_what_is_no_number_is_nothing():
    costs = CallCosts("sales", Budget(), Tariff({"x": Price(input=1.0)}), DayTotals())
    odd = (Usage(input_tokens="12"), Usage(output_tokens=None), Usage(seconds=[1]), Usage(characters=True))
    for usage in odd:
        costs.used(Used("llm", "x", usage))
    assert (costs.total, costs.parts[0].requests) == (0.0, 4)


def test_an_attempt_that_was_never_told_of_is_no_request():
    assert a_call().record()["parts"] == []


def test_the_record_says_who_was_used_for_what_and_which_counts_are_guesses():
    costs = a_call()
    costs.used(Used("llm", "openai/large", Usage(input_tokens=1000, cached_tokens=400, output_tokens=50)))
    costs.used(Used("llm", "openai/large", Usage(input_tokens=1100, output_tokens=30, is_estimate=True)))
    costs.used(Used("stt", "new", Usage(seconds=2.5)))
    assert costs.record() == {
        "currency": "EUR",
        "total": pytest.approx((1700 * 2.0 + 400 * 0.5 + 80 * 8.0) / 1e6),
        "parts": [
            {
                "stage": "llm",
                "provider": "openai/large",
                "requests": 2,
                "input_tokens": 2100,
                "cached_tokens": 400,
                "output_tokens": 80,
                "estimated": True,
                "cost": pytest.approx(0.00424),
            },
            {"stage": "stt", "provider": "new", "requests": 1, "seconds": 2.5},
        ],
    }


def test_money_is_written_down_as_it_is_counted():
    costs = a_call()
    costs.used(Used("llm", "openai/small", Usage(input_tokens=1700)))
    costs.used(Used("tts", "elevenlabs", Usage(characters=1020)))
    assert json.dumps(costs.record()["total"]) == "0.10234"


def test_without_prices_what_was_used_is_still_told_and_no_cost_is_claimed():
    costs = a_call(tariff=Tariff())
    costs.used(Used("stt", "new", Usage(seconds=2.5)))
    assert "total" not in costs.record()
    assert costs.record()["parts"] == [{"stage": "stt", "provider": "new", "requests": 1, "seconds": 2.5}]
    assert "esl_agent_cost" not in costs.variables()


def test_a_cdr_has_the_sums_of_a_call():
    costs = a_call()
    costs.used(Used("stt", "deepgram/nova", Usage(seconds=30.0)))
    costs.used(Used("stt", "whisper", Usage(seconds=1.25)))
    costs.used(Used("llm", "openai/large", Usage(input_tokens=1000, output_tokens=50)))
    costs.used(Used("tts", "elevenlabs", Usage(characters=120)))
    assert costs.variables() == {
        "esl_agent_cost": "0.017400",
        "esl_agent_stt_seconds": "31.2",
        "esl_agent_llm_tokens": "1050",
        "esl_agent_tts_characters": "120",
    }
    assert costs.providers() == {"stt": "deepgram/nova, whisper", "llm": "openai/large", "tts": "elevenlabs"}


hostile = st.one_of(
    st.text(), st.sampled_from(["${system(x)}", "a;esl_agent_cost=0", "a\nb: c", "%[x=y]", "a^^b", "'"])
)


@given(st.lists(st.builds(Used, st.sampled_from(STAGES), hostile, usages), max_size=10))
def test_no_name_and_no_count_of_a_server_gets_into_a_channel_variable(uses):
    costs = a_call()
    for used in uses:
        costs.used(used)
    for name, value in costs.variables().items():
        assert re.fullmatch("[a-z_]{1,40}", name)
        assert re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,6})?", value)


# Budgets


def test_while_the_budget_lasts_everybody_may_be_used():
    costs = a_call(Budget(call=1.0, day=10.0))
    spend(costs, 0.5)
    assert costs.affordable("llm", ("openai/large", "openai/small")) == ("openai/large", "openai/small")
    assert costs.news() == []


def test_over_budget_those_that_cost_nothing_are_left_in_their_order():
    costs = a_call(Budget(call=1.0))
    spend(costs, 1.0)
    assert costs.affordable("tts", ("elevenlabs", "new", "piper")) == ("new", "piper")


def test_over_budget_where_all_cost_something_the_cheapest_is_left():
    costs = a_call(Budget(call=1.0))
    spend(costs, 1.0)
    assert costs.affordable("llm", ("openai/small-but-dear", "openai/large", "openai/small")) == ("openai/small",)
    assert costs.affordable("tts", ("elevenlabs",)) == ("elevenlabs",)


def test_of_those_that_cost_the_same_the_preferred_one_is_left():
    costs = a_call(Budget(call=1.0))
    spend(costs, 1.0)
    assert costs.affordable("llm", ("openai/small-b", "openai/small-a")) == ("openai/small-b",)


@given(
    st.sampled_from(STAGES),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple),
    st.booleans(),
)
def test_somebody_is_always_left_and_the_order_is_kept(stage, names, is_over):
    costs = a_call(Budget(call=1.0))
    if is_over:
        spend(costs, 2.0)
    left = costs.affordable(stage, names)
    assert left
    assert list(left) == [name for name in names if name in left]
    assert is_over or left == names
    dearest = max(costs.tariff.typical(stage, name) for name in left)
    assert all(costs.tariff.typical(stage, name) >= dearest for name in names if name not in left)


def test_a_budget_that_is_passed_is_told_once_and_its_limit_again():
    costs = a_call(Budget(call=1.0, call_limit=2.0))
    spend(costs, 1.5)
    assert costs.news() == [Passed("call", False, 1.0, pytest.approx(1.5), "EUR")]
    spend(costs, 0.1)
    assert costs.news() == []
    spend(costs, 0.5)
    assert costs.news() == [Passed("call", True, 2.0, pytest.approx(2.1), "EUR")]
    assert costs.news() == []


def test_what_one_call_spends_counts_for_the_day_of_all():
    days, budget = DayTotals(), Budget(day=1.0, day_limit=2.0)
    one, other, elsewhere = a_call(budget, days), a_call(budget, days), a_call(budget, days, did="6000")
    spend(one, 1.2)
    assert other.affordable("tts", ("elevenlabs", "piper")) == ("piper",)
    assert elsewhere.affordable("tts", ("elevenlabs", "piper")) == ("elevenlabs", "piper")
    assert [(each.scope, each.is_limit) for each in other.news()] == [("day", False)]
    assert not other.is_day_spent()
    spend(one, 1.0)
    assert other.is_day_spent()
    assert not elsewhere.is_day_spent()
    assert [(each.scope, each.is_limit) for each in other.news()] == [("day", True)]


def test_of_a_day_the_operator_is_told_once_and_every_call_knows():
    days, budget = DayTotals(), Budget(day=1.0)
    one, other = a_call(budget, days), a_call(budget, days)
    spend(one, 1.2)
    assert [passed.is_first for passed in one.news() + other.news()] == [True, False]
    assert str(a_call(budget, days).news()[0]) == (
        "today's calls of this number have cost 1.2000 of 1 EUR: it goes on with cheaper engines"
    )


def test_at_midnight_a_new_count_begins_and_a_running_calls_own_goes_on():
    calendar = Calendar()
    days = DayTotals()
    costs = a_call(Budget(call=1.0, day_limit=2.0), days, today=calendar)
    spend(costs, 2.0)
    assert costs.is_day_spent()
    calendar.today = date(2026, 5, 2)
    assert not costs.is_day_spent()
    assert days.of("5000", calendar()).spent == 0.0
    assert costs.affordable("tts", ("elevenlabs", "piper")) == ("piper",)
    spend(costs, 0.5)
    assert days.of("5000", calendar()).spent == pytest.approx(0.5)


def test_a_clock_that_is_set_back_begins_a_new_count_too():
    calendar = Calendar()
    days = DayTotals()
    days.of("5000", calendar()).spent = 1.0
    calendar.today = date(2026, 4, 30)
    assert days.of("5000", calendar()).spent == 0.0


@pytest.mark.parametrize("wrong", [{"call": 2.0, "call_limit": 1.0}, {"day": 2.0, "day_limit": 1.0}])
def test_a_limit_below_its_budget_is_a_mistake(wrong):
    with pytest.raises(ValueError, match="_limit or less"):
        Budget(**wrong)


# Settings


def mistakes(tmp_path: Path, agent: str, did: str = "") -> list[str]:
    (tmp_path / "dids").mkdir()
    (tmp_path / "agent.yaml").write_text(agent)
    (tmp_path / "dids" / "a.yaml").write_text(f"default: true\n{did}")
    return [line.replace(f"{tmp_path}/", "") for line in check(tmp_path, environment={})]


def test_prices_and_budgets_are_settings(tmp_path):
    agent = "currency: EUR\nprices:\n  openai/gpt-x*: {input: 1, output: 4.5}\n  piper: {}\n"
    assert mistakes(tmp_path, agent, "budget: {call: 0.5, call_limit: 1, day: 20}\n") == []
    config = load(tmp_path, environment={})
    assert Tariff(config.service.prices).find("openai/gpt-x-mini") == Price(input=1.0, output=4.5)
    assert config.dids[0].settings.budget == Budget(call=0.5, call_limit=1.0, day=20.0)


@pytest.mark.parametrize(
    ("agent", "did", "line"),
    [
        ("currency: E;R", "", "agent.yaml:1: currency: expected text like"),
        ("prices:\n  a/b: {input: -1}", "", "agent.yaml:2: prices.'a/b'.input: expected 0 or more, got -1"),
        ("prices:\n  a: {minute: .inf}", "", "agent.yaml:2: prices.a.minute: expected"),
        ("prices:\n  a: {inptu: 1}", "", "agent.yaml:2: prices.a.inptu: unknown setting; did you mean 'input'?"),
        ("prices:\n  a: {}\n  'op*': {}", "", "agent.yaml:3: prices.'op*': expected an engine (openai), an engine"),
        ("", "budget:\n  call: -1", "dids/a.yaml:3: budget.call: expected 0 or more, got -1"),
        ("", "budget: {day: 3, day_limit: 2}", "dids/a.yaml:2: budget: expected day to be day_limit or less"),
        ("", "budget: {refusal_cause: a b}", "dids/a.yaml:2: budget.refusal_cause: expected text like"),
    ],
)
def test_a_wrong_price_or_budget_is_told_with_its_line(tmp_path, agent, did, line):
    (found,) = mistakes(tmp_path, agent, did)
    assert found.startswith(line)


def lineup_of(tmp_path: Path, agent: str, did: str) -> Lineup:
    assert mistakes(tmp_path, agent, did) == []
    return make_lineup(load(tmp_path, environment={}))


OVER_THE_NETWORK = "llm:\n  - {engine: ollama, model: small}\n  - {engine: rules, otherwise: Pardon}\n"


def test_an_engine_of_a_did_with_a_budget_ought_to_have_a_price(tmp_path):
    lineup = lineup_of(tmp_path, "prices:\n  openai: {input: 1}\n", f"budget: {{call: 1}}\n{OVER_THE_NETWORK}")
    (line,) = unpriced(lineup)
    assert "a.yaml:4: llm[0]: engine ollama/small counts as free" in line


@pytest.mark.parametrize(
    ("agent", "did"),
    [("prices:\n  ollama: {}\n", "budget: {call: 1}\n"), ("", ""), ("", "budget: {refusal_cause: USER_BUSY}\n")],
)
def test_nobody_is_warned_of_a_price_that_was_given_or_that_no_budget_needs(tmp_path, agent, did):
    assert unpriced(lineup_of(tmp_path, agent, did + OVER_THE_NETWORK)) == []


EXAMPLES = re.findall(
    r"^```yaml\n(.*?)^```$", (Path(__file__).parent.parent / "docs" / "costs.md").read_text(), re.DOTALL | re.MULTILINE
)


def test_the_examples_of_the_page_about_costs_are_settings(tmp_path):
    agent, did = EXAMPLES
    config = lineup_of(tmp_path, agent, did).config
    tariff = Tariff(config.service.prices, config.service.currency)
    assert tariff.cost("openai/gpt-x-mini-2", Usage(input_tokens=1_000_000)) == pytest.approx(0.1)
    assert config.dids[0].settings.budget.day_limit == 30.0
