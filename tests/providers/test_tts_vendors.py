"""The vendors' own clients speak with the pretend services, and their own types read what we send: so that our reading
of a protocol and our pretence of it cannot be wrong in the same way."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter

from esl_agent.providers.base import EngineContext
from esl_agent.providers.tts_cartesia import CartesiaVoice, CartesiaVoiceOptions
from esl_agent.providers.tts_deepgram import DeepgramVoice, DeepgramVoiceOptions
from esl_agent.providers.tts_elevenlabs import ElevenLabsVoice, ElevenLabsVoiceOptions
from esl_agent.providers.tts_elevenlabs_ws import ElevenLabsSocketOptions, ElevenLabsSocketVoice
from esl_agent.providers.tts_openai import OpenAiVoice, OpenAiVoiceOptions
from esl_agent.testing import pretend_cartesia, pretend_elevenlabs
from esl_agent.testing.pretend_cartesia import PretendCartesia
from esl_agent.testing.pretend_elevenlabs import PretendElevenLabs
from esl_agent.testing.pretend_speech import ramp
from esl_agent.testing.pretend_voices import DEEPGRAM_KEY, OPENAI_KEY, PretendAura, PretendOpenAiSpeech
from tests.providers.contract_tts import TEXT

cartesia = pytest.importorskip("cartesia")
deepgram = pytest.importorskip("deepgram")
elevenlabs = pytest.importorskip("elevenlabs")
openai = pytest.importorskip("openai")

ENGLISH = EngineContext("en")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setenv("DEEPGRAM_API_KEY", DEEPGRAM_KEY)
    monkeypatch.setenv("ELEVENLABS_API_KEY", pretend_elevenlabs.KEY)
    monkeypatch.setenv("CARTESIA_API_KEY", pretend_cartesia.KEY)


# ElevenLabs


@pytest.fixture
def eleven() -> Iterator[PretendElevenLabs]:
    with PretendElevenLabs() as service:
        yield service


def eleven_client(service: PretendElevenLabs, key: str = pretend_elevenlabs.KEY) -> Any:
    return elevenlabs.ElevenLabs(api_key=key, base_url=service.http.url)


def test_elevenlabs_own_client_hears_the_pretend_service(eleven):
    pieces = eleven_client(eleven).text_to_speech.stream(
        pretend_elevenlabs.VOICE, text=TEXT, model_id="eleven_multilingual_v2", output_format="pcm_16000",
        voice_settings=elevenlabs.VoiceSettings(stability=0.5, speed=1.1), previous_text="Hello.", seed=3,
    )  # fmt: skip
    assert b"".join(pieces) == ramp(TEXT, 16000)


def test_elevenlabs_own_client_reads_the_pretend_refusals(eleven):
    from elevenlabs.core.api_error import ApiError
    from elevenlabs.errors import UnprocessableEntityError

    with pytest.raises(ApiError) as caught:
        list(eleven_client(eleven, "wrong").text_to_speech.stream(pretend_elevenlabs.VOICE, text=TEXT, model_id="x"))
    assert (caught.value.status_code, caught.value.body["detail"]["status"]) == (401, "invalid_api_key")
    with pytest.raises(UnprocessableEntityError) as caught:
        list(eleven_client(eleven).text_to_speech.stream(pretend_elevenlabs.VOICE, text=""))
    assert isinstance(caught.value.body["detail"], list)


def test_elevenlabs_own_client_hears_the_pretend_websocket(eleven):
    client = eleven_client(eleven)
    client.text_to_speech._ws_base_url = eleven.websocket.url  # it would insist on TLS
    words = iter(["Your table ", "is booked."])
    pieces = client.text_to_speech.convert_realtime(
        pretend_elevenlabs.VOICE, text=words, model_id="eleven_flash_v2_5", output_format="pcm_16000"
    )
    assert b"".join(pieces) == ramp(eleven.said[0], 16000)


def test_what_we_send_to_elevenlabs_is_what_its_client_would(eleven):
    from elevenlabs.text_to_speech.raw_client import RawTextToSpeechClient
    from elevenlabs.types import VoiceSettings

    known = set(inspect.signature(RawTextToSpeechClient.stream).parameters)
    options = ElevenLabsVoiceOptions(
        voice=pretend_elevenlabs.VOICE, url=eleven.http.url, stability=0.5, similarity=0.5, style=0.0, speed=1.1,
        speaker_boost=True, seed=1, text_normalization="on", enable_logging=True, optimize_streaming_latency=1, part=50,
    )  # fmt: skip
    list(ElevenLabsVoice(options, ENGLISH).speak("One sentence is here. Another sentence is here. And a third one is."))
    for request in eleven.http.requests:
        assert set(request.query) | set(request.json()) <= known
        assert set(request.json()["voice_settings"]) <= set(VoiceSettings.model_fields)


def test_what_we_send_over_elevenlabs_websocket_are_its_messages(eleven):
    from elevenlabs.types import CloseConnection, InitializeConnection, RealtimeVoiceSettings, SendText

    url = eleven.websocket.url.replace("ws", "http", 1)
    options = ElevenLabsSocketOptions(voice=pretend_elevenlabs.VOICE, url=url, stability=0.5, speed=1.0, style=0.1)
    list(ElevenLabsSocketVoice(options, ENGLISH).speak(TEXT))
    for message, kind in zip(eleven.messages, (InitializeConnection, SendText, CloseConnection), strict=True):
        assert set(message) <= set(kind.model_fields)
        kind.model_validate(message)
    assert set(eleven.messages[0]["voice_settings"]) <= set(RealtimeVoiceSettings.model_fields)


def test_what_the_pretend_elevenlabs_says_are_its_messages(eleven):
    from elevenlabs.types import AudioOutput, FinalOutput
    from websockets.sync.client import connect

    path = f"/v1/text-to-speech/{pretend_elevenlabs.VOICE}/stream-input?model_id=x&output_format=pcm_16000"
    with connect(
        eleven.websocket.url + path, additional_headers={"xi-api-key": pretend_elevenlabs.KEY}, proxy=None
    ) as socket:
        for text in (" ", "Hello. ", ""):
            socket.send(json.dumps({"text": text}))
        answers = [json.loads(answer) for answer in socket]
    assert AudioOutput.model_validate(answers[0]).audio
    assert FinalOutput.model_validate(answers[-1]).is_final


# OpenAI


def test_openais_own_client_hears_the_pretend_service():
    with PretendOpenAiSpeech() as service:
        client = openai.OpenAI(api_key=OPENAI_KEY, base_url=f"{service.url}/v1", max_retries=0)
        with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="coral", input=TEXT, response_format="pcm", speed=1.0, instructions="Calmly."
        ) as answer:
            assert b"".join(answer.iter_bytes()) == ramp(TEXT, 24000)
        with pytest.raises(openai.BadRequestError):
            client.audio.speech.create(model="gpt-4o-mini-tts", voice="nobody", input=TEXT)
        wrong = openai.OpenAI(api_key="sk-wrong-wrong", base_url=f"{service.url}/v1", max_retries=0)
        with pytest.raises(openai.AuthenticationError) as caught:
            wrong.audio.speech.create(model="gpt-4o-mini-tts", voice="coral", input=TEXT)
        assert caught.value.code == "invalid_api_key"


def test_what_we_send_to_openai_is_what_its_types_say():
    from openai.types.audio.speech_create_params import SpeechCreateParams

    with PretendOpenAiSpeech() as service:
        options = OpenAiVoiceOptions(
            url=f"{service.url}/v1", api_key_env="OPENAI_API_KEY", speed=1.2, instructions="Calmly."
        )
        list(OpenAiVoice(options, ENGLISH).speak(TEXT))
        body = service.requests[-1].json()
    assert set(body) <= set(get_type_hints(SpeechCreateParams))
    assert TypeAdapter(SpeechCreateParams).validate_python(body) == body


# Deepgram


def deepgram_client(service: PretendAura, key: str = DEEPGRAM_KEY) -> Any:
    from deepgram.environment import DeepgramClientEnvironment

    places = DeepgramClientEnvironment(base=service.url, production="", agent="", agent_rest="")
    return deepgram.DeepgramClient(api_key=key, environment=places)


def test_deepgrams_own_client_hears_the_pretend_service():
    from deepgram.core.api_error import ApiError

    with PretendAura() as service:
        pieces = deepgram_client(service).speak.v1.audio.generate(
            text=TEXT, model="aura-2-thalia-en", encoding="linear16", sample_rate=16000, container="none"
        )
        assert b"".join(pieces) == ramp(TEXT, 16000)
        with pytest.raises(ApiError) as caught:
            list(deepgram_client(service).speak.v1.audio.generate(text="word " * 500, model="aura-2-thalia-en"))
        assert caught.value.status_code == 413


def test_what_we_ask_deepgram_is_what_its_client_would():
    from deepgram.speak.v1.audio.raw_client import RawAudioClient

    with PretendAura() as service:
        options = DeepgramVoiceOptions(url=service.url, speed=1.1, mip_opt_out=True)
        list(DeepgramVoice(options, ENGLISH).speak(TEXT))
        request = service.requests[-1]
    assert set(request.query) | set(request.json()) <= set(inspect.signature(RawAudioClient.generate).parameters)


# Cartesia


@pytest.fixture
def sonic() -> Iterator[PretendCartesia]:
    with PretendCartesia() as service:
        yield service


def test_cartesias_own_client_hears_the_pretend_service(sonic):
    client = cartesia.Cartesia(api_key=pretend_cartesia.KEY, websocket_base_url=sonic.websocket.url)
    shape = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}
    with client.tts.websocket_connect() as connection:
        context = connection.context(
            model_id="sonic-3", voice={"mode": "id", "id": pretend_cartesia.VOICE}, output_format=shape, language="en"
        )
        context.push("Your table ")
        context.push("is booked.")
        context.no_more_inputs()
        answers = [answer for answer in context.receive() if answer.context_id == context._context_id]
    assert b"".join(answer.audio for answer in answers if answer.type == "chunk") == ramp(
        "Your table is booked.", 16000
    )
    assert answers[-1].type == "done"


def test_what_we_send_to_cartesia_is_what_its_types_say(sonic):
    from cartesia.types.generation_request_param import GenerationRequestParam

    options = CartesiaVoiceOptions(
        voice=pretend_cartesia.VOICE, url=sonic.websocket.url, speed=1.1, volume=1.2, emotion="calm"
    )
    list(CartesiaVoice(options, ENGLISH).speak(TEXT))
    request = sonic.requests[-1]
    assert set(request) <= set(get_type_hints(GenerationRequestParam))
    TypeAdapter(GenerationRequestParam).validate_python(request)


def test_what_the_pretend_cartesia_says_are_its_messages(sonic):
    from cartesia.types import websocket_response
    from websockets.sync.client import connect

    kinds = {"chunk": websocket_response.Chunk, "done": websocket_response.Done, "error": websocket_response.Error}
    kinds["timestamps"] = websocket_response.Timestamps
    headers = {"X-API-Key": pretend_cartesia.KEY, "Cartesia-Version": "2026-08-14"}
    seen = set()
    with connect(f"{sonic.websocket.url}/tts/websocket", additional_headers=headers, proxy=None) as socket:
        shape = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 16000}
        good = {"context_id": "a", "model_id": "sonic-3", "transcript": "Hi.", "voice": pretend_cartesia.VOICE}
        for request in ({**good, "output_format": shape}, {"context_id": "b"}):
            socket.send(json.dumps(request))
            while True:
                answer = json.loads(socket.recv(2.0))
                if answer["type"] != "news":  # what the types do not know yet
                    kinds[answer["type"]].model_validate(answer, strict=True)
                seen.add(answer["type"])
                if answer["type"] in ("done", "error"):
                    break
    assert seen == {"chunk", "timestamps", "news", "done", "error"}
