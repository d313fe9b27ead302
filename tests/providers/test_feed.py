"""The sound of an utterance, for as many recognisers as it takes."""

from __future__ import annotations

import gevent

from esl_agent.providers.feed import Feed, pumped
from tests.providers.stages import Clock


def test_every_reader_gets_all_of_it_whenever_it_began() -> None:
    feed = Feed()
    early = gevent.spawn(list, iter(feed))
    feed.add(b"one")
    gevent.sleep(0)
    middle = gevent.spawn(list, iter(feed))
    gevent.sleep(0)
    feed.add(b"two")
    feed.end()
    assert [early.get(timeout=5), middle.get(timeout=5), list(feed)] == [[b"one", b"two"]] * 3


def test_a_reader_that_is_closed_ends_alone() -> None:
    feed = Feed()
    closed, other = iter(feed), iter(feed)
    reading = gevent.spawn(list, closed)
    following = gevent.spawn(list, other)
    feed.add(b"one")
    gevent.sleep(0)
    closed.close()
    assert reading.get(timeout=5) == [b"one"]
    assert closed.taken == 3
    feed.add(b"two")
    feed.end()
    assert following.get(timeout=5) == [b"one", b"two"]


def test_it_ends_once_and_knows_when() -> None:
    clock = Clock()
    feed = Feed(clock)
    assert feed.ended_at is None
    feed.end()
    clock.now += 5
    feed.end()
    assert feed.ended_at == 100.0


def test_sound_from_elsewhere_is_pumped_and_a_feeds_own_is_not() -> None:
    feed, greenlet = pumped(iter([b"one", b"two"]), Clock())
    assert list(feed) == [b"one", b"two"]
    assert greenlet is not None
    assert pumped(iter(feed), Clock()) == (feed, None)
