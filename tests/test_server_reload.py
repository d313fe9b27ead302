"""A reload while calls run."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest
from gevent.monkey import get_original

from esl_agent import config as configuration
from esl_agent import server as serving
from esl_agent.config import Config
from esl_agent.lineup import Lineup
from esl_agent.server import Server

CONF = Path(__file__).parents[1] / "conf"


@pytest.fixture
def config() -> Config:
    return configuration.load(CONF, environment={})


@pytest.fixture
def server(config: Config, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(serving, "make_lineup", lambda config: Lineup(config, {}))
    monkeypatch.setattr(Server, "_keep_warm", lambda self: None)
    return Server(CONF, config, lineup=Lineup(config, {}), freeswitch=False)


def test_calls_go_on_while_the_configuration_is_read(server, config, monkeypatch):
    """It takes longer than a frame of sound."""
    calls_went_on = get_original("threading", "Event")()

    def slow(_: Path) -> Config:
        assert calls_went_on.wait(5.0)
        return config

    monkeypatch.setattr(configuration, "load", slow)
    gevent.spawn(calls_went_on.set)
    assert server.reload()


def test_of_two_reloads_the_one_that_was_asked_for_last_counts(server, config, monkeypatch):
    first_may_end = get_original("threading", "Event")()
    read: list[int] = []

    def load(_: Path) -> Config:
        read.append(len(read))
        if len(read) == 1:
            first_may_end.wait(5.0)
        return config

    monkeypatch.setattr(configuration, "load", load)
    reloads = [gevent.spawn(server.reload) for _ in range(2)]
    gevent.sleep(0.01)
    assert read == [0], "the second waits: it would be done before the first"
    first_may_end.set()
    gevent.joinall(reloads, timeout=5.0)
    assert read == [0, 1]
