"""Names that older programs gave their settings, in the environment or as constants of a ``config.py``.

What a name sets is declared where the setting is (``setting(..., env=NAME)``, or a ``..._env`` whose default it is);
these tables say which names there are, and which of them have no effect.
``docs/migrating.md`` says the same in prose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: Read from the environment, and from the constants of ``legacy_config``. What each sets, for people.
USED: Mapping[str, str] = {
    "LLAMA3_API_URL": "llm engine llama3_api: where it is",
    "LLAMA3_TIMEOUT": "llm engine llama3_api: its timeout",
    "LLM_API_URL": "llm engine ollama: where it is",
    "CHATBOT_API_URL": "llm engine chatbot: its HTTP address",
    "CHATBOT_WS_URL": "llm engine chatbot: its WebSocket",
    "GPU_SERVER_URL": "stt engine transcribe: where it is",
    "MAX_CONVERSATION_HISTORY": "limits.history of every DID, and llm engine llama3_api: its history",
    "SILENCE_DURATION": "endpointing.silence of every DID",
    "MIN_VOLUME_THRESHOLD": "vad.min_volume of every DID",
    "VAD_AGGRESSIVENESS": "vad.aggressiveness of every DID",
    "LOG_LEVEL": "log.level",
    "FREESWITCH_HOST": "event_socket.host",
    "FREESWITCH_PORT": "event_socket.port",
    "FREESWITCH_PASSWORD": "the secret of event_socket.password_env",
    "WS_HOST": "audio.s1_listener.host",
    "WS_PORT": "audio.s1_listener.port",
    "AUDIOSOCKET_HOST": "asterisk.audiosocket.host",
    "AUDIOSOCKET_PORT": "asterisk.audiosocket.port",
    "VOICEAI_APP": "asterisk.ari.app",
    "VOICEAI_CALLERID": "asterisk.outbound.caller_id",
    "SIP_TRUNK": "asterisk.outbound.trunk",
    "ELEVENLABS_API_KEY": "tts engine elevenlabs: its key",
    "API_KEY": "tts engine elevenlabs: its key",
    "VOICE_ID": "tts engine elevenlabs: the voice",
    "OPENAI_API_KEY": "the key of the engines openai and openai_realtime",
    "OPENAI_WS_URL": "agent engine openai_realtime: where it is",
}

#: Accepted and without effect: the part of the product that would need them does not exist.
NOT_USED_YET: Mapping[str, str] = {
    "ELEVENLABS_AGENT_ID": "agents of ElevenLabs",
    "AUDIO_CHUNK_SIZE_MS": "baresip",
    "EXOLVE_SIP_USER": "baresip",
    "EXOLVE_SIP_PASS": "baresip",
    "EXOLVE_SIP_DOMAIN": "baresip",
}

#: Read by Python itself, before any program begins.
OF_PYTHON: Mapping[str, str] = {"PYTHONIOENCODING": "how Python writes to the terminal"}

#: Variables of Asterisk's dialplan, which Asterisk reads. Nothing of ours does.
OF_ASTERISK: Mapping[str, str] = {"AUDIOSOCKET_ADDR": "where the dialplan finds our AudioSocket server"}

#: Set the door for Asterisk, and nothing while it is shut.
OF_ASTERISK_DOOR = ("AUDIOSOCKET_HOST", "AUDIOSOCKET_PORT", "VOICEAI_APP", "VOICEAI_CALLERID", "SIP_TRUNK")

#: Without effect for good, though nothing is missing.
NEEDLESS: Mapping[str, str] = {"VOSK_SAMPLE_RATE": "stt engine vosk tells the server the rate of each call"}


def remarks(given: Mapping[str, str], *, asterisk: bool) -> list[str]:
    """What to tell the operator of names that are given (``given``: name -> where, such as ``environment NAME`` or
    ``config.py:3``) and have no effect, or not the one they had. ``asterisk``: its door is open."""
    idle: dict[str, list[str]] = {}
    for name, door in NOT_USED_YET.items():
        if name in given:
            idle.setdefault(door, []).append(f"{name} ({_at(name, given)})")
    found = [f"no effect yet, because this version has no {door}: {', '.join(names)}" for door, names in idle.items()]
    found += [f"no effect: {name} ({_at(name, given)}): {why}" for name, why in NEEDLESS.items() if name in given]
    if not asterisk and (shut := [f"{name} ({_at(name, given)})" for name in OF_ASTERISK_DOOR if name in given]):
        found.append(f"no effect, because asterisk.enabled is off in agent.yaml: {', '.join(shut)}")
    if "SILENCE_DURATION" in given:
        found.append(
            f"SILENCE_DURATION ({given['SILENCE_DURATION']}): while endpointing.adapt is on it is only where the "
            "silence that ends an utterance starts from; what follows depends on the words and on the caller"
        )
    return found


def unread(given: Mapping[str, str], readers: Mapping[str, Collection[str]], used: Collection[str]) -> list[str]:
    """What to tell of names that are given and set options of engines alone (``readers``: name -> its engines, as
    ``llm engine ollama``), while no DID uses one of these (``used``)."""
    return [
        f"no effect: {name} ({_at(name, given)}): no DID uses the {' or the '.join(engines)}"
        for name, engines in readers.items()
        if name in given and name in USED and not set(engines) & set(used)
    ]


def _at(name: str, given: Mapping[str, str]) -> str:
    return given[name].removesuffix(f" {name}")
