"""The one timer behind every wait of a connection."""

from __future__ import annotations

from esl_agent.legs.esl_outcome import Deadlines


def test_a_deadline_that_fails_does_not_take_the_others_with_it(caplog):
    deadlines, called = Deadlines(), []
    deadlines.after(0.0, lambda: 1 / 0)
    deadlines.after(0.0, lambda: called.append("next"))
    deadlines.after(60.0, lambda: called.append("later"))
    deadlines._fire()
    assert called == ["next"]
    assert deadlines._timer is not None
    assert "ZeroDivisionError" in caplog.text
    deadlines.close()
