"""Keys stay out of what is told, however a service quotes them."""

from __future__ import annotations

import pytest

from esl_agent.errors import ConfigError
from esl_agent.secret import required, scrubbed, secret

KEY = "sk-proj-0123456789abcdefghij"


@pytest.mark.parametrize("shown", [KEY, KEY[:20], KEY[:12], f"{KEY[:15]}...", f"{KEY} {KEY[:18]} and {KEY}"])
def test_a_key_is_not_told_not_even_its_beginning(shown):
    told = scrubbed(f"the key {shown} is wrong", (KEY, ""))
    assert KEY[:12] not in told
    assert told.startswith("the key ***")
    assert told.endswith(" is wrong")


def test_what_is_no_key_is_told():
    assert scrubbed("sk-proj- 0123 abc", (KEY, "abc")) == "sk-proj- 0123 abc"


@pytest.mark.parametrize("variable", ["sk-ant-SECRETyaml", "", "A_KEY"])
def test_a_missing_key_is_told_with_what_to_do_and_without_what_is_no_name(variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        required("llm: engine x", variable, "", environment={})
    assert "api_key_file" in str(caught.value)
    assert "esl-agent check" in str(caught.value)
    assert "SECRETyaml" not in str(caught.value)
    assert ("A_KEY" in str(caught.value)) == (variable == "A_KEY")


def test_a_key_named_as_a_file_is_not_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        secret("", "sk-ant-SECRETyaml", {})
    assert "SECRETyaml" not in str(caught.value)


@pytest.mark.parametrize("key", ['"sk-SECRET"', "'sk-SECRET'"])
def test_a_key_in_quotation_marks_is_refused_before_a_service_refuses_it(key: str) -> None:
    with pytest.raises(ConfigError, match="quotation marks") as caught:
        required("llm: engine x", "A_KEY", "", environment={"A_KEY": key})
    assert "SECRET" not in str(caught.value)
