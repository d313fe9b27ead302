"""Which media a call gets, and that nothing of it lies where it should not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from esl_agent.config.service import ServiceSettings
from esl_agent.media import MediaMaker


@pytest.mark.parametrize("name", ["..", ".", "../..", "a/b", ""])
def test_whatever_the_switch_calls_a_call_its_folder_is_one_below_ours(tmp_path: Path, name: str):
    ours = tmp_path / "clips"
    ours.mkdir()
    (ours / "another call").mkdir()
    call = SimpleNamespace(session_data={}, uuid=name, link=SimpleNamespace())
    leg: Any = SimpleNamespace(id=name, call=call, watch=lambda watcher: None)
    media = SimpleNamespace(kind="audio_fork", playback="clips", rate=8000, audio_fork="api")
    did: Any = SimpleNamespace(media=media)
    server: Any = SimpleNamespace(forget=lambda path: None)
    stream = MediaMaker(ServiceSettings(), server, None, ours).make(leg, did, lambda event: None)
    assert len(list(ours.iterdir())) == 2
    stream.close()
    assert [each.name for each in ours.iterdir()] == ["another call"]
