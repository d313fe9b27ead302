"""How a DID says by which way its sound travels."""

from __future__ import annotations

from pathlib import Path

import pytest

from esl_agent.config import load
from esl_agent.config.did import MediaSettings, media_kind
from esl_agent.config.load import check


def written(directory: Path, did: str = "", agent: str = "") -> Path:
    (directory / "dids").mkdir()
    (directory / "agent.yaml").write_text(agent)
    (directory / "dids" / "a.yaml").write_text(f"did: 5000\n{did}")
    return directory


def media(directory: Path) -> MediaSettings:
    return load(directory, environment={}).dids[0].media


def test_one_word_says_the_kind_and_keeps_what_the_defaults_say(tmp_path):
    found = media(written(tmp_path, "media: unicast\n", "defaults: {media: {rate: 16000}}\n"))
    assert (found.kind, found.rate) == ("unicast", 16000)


def test_one_word_does_in_the_defaults_too(tmp_path):
    found = media(written(tmp_path, "media: {rate: 16000}\n", "defaults: {media: unicast}\n"))
    assert (found.kind, found.rate) == ("unicast", 16000)


def test_a_word_that_is_no_kind_is_said_with_its_line(tmp_path):
    (problem,) = check(written(tmp_path, "name: x\nmedia: unicats\n"), environment={})
    assert "a.yaml:3: media.kind" in problem
    assert "did you mean 'unicast'?" in problem


@pytest.mark.parametrize(
    ("agent", "wrong"),
    [
        ("unicast: {ports: [13999, 12000]}", "unicast.ports"),
        ("unicast: {freeswitch_ports: [80, 90]}", "unicast.freeswitch_ports"),
        ('unicast: {listen: "::1"}', "unicast.listen"),
        ("unicast: {ports: [12000, 14000]}", "unicast.freeswitch_ports"),
        ("unicast: {freeswitch_host: pbx.example}", "unicast.freeswitch_host"),
    ],
)
def test_ports_and_addresses_that_cannot_be_are_said(tmp_path, agent, wrong):
    (problem,) = check(written(tmp_path, "", agent + "\n"), environment={})
    assert wrong in problem


def test_one_range_may_serve_both_sides_of_two_machines(tmp_path):
    agent = "unicast: {listen: 10.0.0.7, freeswitch_host: 10.0.0.8, freeswitch_ports: [12000, 13999]}\n"
    assert check(written(tmp_path, "", agent), environment={}) == []


@pytest.mark.parametrize(
    ("settings", "with_module", "without"),
    [
        (MediaSettings(), "audio_fork", "unicast"),
        (MediaSettings(kind="unicast"), "unicast", "unicast"),
        (MediaSettings(kind="audio_fork"), "audio_fork", "audio_fork"),
        (MediaSettings(audio_fork="external"), "audio_fork", "audio_fork"),
    ],
)
def test_auto_is_the_module_where_there_is_one(settings, with_module, without):
    assert (media_kind(settings, True), media_kind(settings, False)) == (with_module, without)
