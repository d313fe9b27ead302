"""The language of a DID (BCP 47) as services name it (ISO 639-1)."""

from __future__ import annotations

#: Whose two-letter code is not the first part of their tag: as Whisper, Deepgram, Cartesia and ElevenLabs have it.
_OTHER_NAMES = {"nb": "no", "nn": "no", "iw": "he", "cmn": "zh", "fil": "tl", "in": "id"}


def short_language(tag: str) -> str:
    """ISO 639-1 of a BCP 47 tag: ``de`` of ``de-AT``."""
    first = tag.lower().replace("_", "-").split("-")[0]
    return _OTHER_NAMES.get(first, first)
