"""A call survives the death of whoever listens, thinks or speaks for it: before, during and after its first byte.

``python -m bench.deaths`` measures the same; the settings are the defaults, so the waits are those of a real call.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.deaths import DEATHS, Phone

pytestmark = pytest.mark.system

#: What a caller may have to wait for a sound of the agent, from the end of a sentence: 3 s after the failure, which is
#: noticed when the pause that ends the sentence is over.
PATIENT = 3.0 + 0.7


@pytest.fixture(params=["audio_fork", "unicast"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Phone]:
    made = Phone(tmp_path, request.param, list(DEATHS))
    yield made
    made.close()


def test_a_call_survives_the_death_of_each_stage_whenever_it_comes(phone: Phone) -> None:
    for survived in phone.survive_all():
        assert survived.silence < PATIENT, survived
        assert survived.switched[:1] == [survived.stage], survived
