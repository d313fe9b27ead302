"""A speech recogniser for whisper.cpp that hears the same words in any sound: a table of which token follows which, as
a model in whisper.cpp's format (multilingual, the smallest kind, 80 mel bands).

The encoder and all attention are zero. Tokens that are used have an embedding of one hot dimension each, the last
layer's feed-forward network is the table, and the logits are the embedding again (Whisper ties the two).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: What is heard, a segment each where the request wants times.
HEARD = ((" Good", " day", ","), (" this", " is", " a", " real", " ☎", " server", "."))
#: What is detected where the request asks for the language.
LANGUAGE = "de"

_VOCABULARY = 51865
_SOT, _GERMAN, _TRANSCRIBE, _PREVIOUS, _NO_TIMES, _TIMES, _END = 50258, 50261, 50359, 50361, 50363, 50364, 50257
#: The last segment ends at 20 s, which is later than any sound of a test.
_LAST = _TIMES + 1000
_WIDTH = 64
_HEADS = 2
_AUDIO_CONTEXT, _TEXT_CONTEXT = 1500, 448
_AUDIO_LAYERS = _TEXT_LAYERS = 4
_MELS, _BINS = 80, 201
_F32, _F16 = 0, 1


def table() -> tuple[list[bytes], dict[int, Sequence[int]]]:
    """The vocabulary, as far as it is no special token, and what may follow a token, the likeliest first."""
    words = [bytes([octet]) for octet in range(256)]
    tokens = []
    for segment in HEARD:
        tokens.append(range(len(words), len(words) + len(segment)))
        words += [piece.encode() for piece in segment]
    said = [token for segment in tokens for token in segment]
    follows: dict[int, Sequence[int]] = {one: (other,) for one, other in itertools.pairwise(said)}
    follows |= {_SOT: (_GERMAN,), _TRANSCRIBE: (_TIMES,), _TIMES: (said[0],), _NO_TIMES: (said[0],)}
    follows |= {said[-1]: (_LAST, _END), _LAST: (_END,)}
    for number, (segment, after) in enumerate(itertools.pairwise(tokens)):
        ended = _TIMES + 10 * (number + 1)
        follows |= {segment[-1]: (ended, after[0]), ended: (ended + 1,), ended + 1: (after[0],)}
    return words, follows


def weights() -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor by its name in OpenAI's own checkpoints."""
    _, follows = table()
    used = sorted({*follows, *itertools.chain.from_iterable(follows.values())})
    hot = {token: dimension for dimension, token in enumerate(used)}
    embedding = np.zeros((_VOCABULARY, _WIDTH), np.float32)
    embedding[used, range(len(used))] = 1.0
    sees = np.eye(4 * _WIDTH, _WIDTH, dtype=np.float32)
    says = np.zeros((_WIDTH, 4 * _WIDTH), np.float32)
    for token, others in follows.items():
        for other, strength in zip(others, (2.0, 1.0), strict=False):
            says[hot[other], hot[token]] = strength
    zeros = np.zeros
    yield "encoder.positional_embedding", zeros((_AUDIO_CONTEXT, _WIDTH), np.float32)
    yield "encoder.conv1.weight", zeros((_WIDTH, _MELS, 3), np.float32)
    yield "encoder.conv1.bias", zeros((_WIDTH, 1), np.float32)
    yield "encoder.conv2.weight", zeros((_WIDTH, _WIDTH, 3), np.float32)
    yield "encoder.conv2.bias", zeros((_WIDTH, 1), np.float32)
    yield from _norm("encoder.ln_post", 1.0)
    for layer in range(_AUDIO_LAYERS):
        yield from _attention(f"encoder.blocks.{layer}.attn")
        yield from _thinking(f"encoder.blocks.{layer}")
    yield "decoder.positional_embedding", zeros((_TEXT_CONTEXT, _WIDTH), np.float32)
    yield "decoder.token_embedding.weight", embedding
    yield from _norm("decoder.ln", 4.0)
    for layer in range(_TEXT_LAYERS):
        yield from _attention(f"decoder.blocks.{layer}.attn")
        yield from _attention(f"decoder.blocks.{layer}.cross_attn")
        if layer < _TEXT_LAYERS - 1:
            yield from _thinking(f"decoder.blocks.{layer}")
        else:
            yield from _thinking(f"decoder.blocks.{layer}", sees, says)


def _norm(name: str, weight: float) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield f"{name}.weight", np.full(_WIDTH, weight, np.float32)
    yield f"{name}.bias", np.zeros(_WIDTH, np.float32)


def _attention(name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield from _norm(f"{name}_ln", 1.0)
    for part in ("query", "key", "value", "out"):
        yield f"{name}.{part}.weight", np.zeros((_WIDTH, _WIDTH), np.float32)
        if part != "key":
            yield f"{name}.{part}.bias", np.zeros(_WIDTH, np.float32)


def _thinking(
    name: str, sees: NDArray[np.float32] | None = None, says: NDArray[np.float32] | None = None
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The feed-forward network; its bias keeps all but the hot dimension silent."""
    yield from _norm(f"{name}.mlp_ln", 1.0)
    yield f"{name}.mlp.0.weight", np.zeros((4 * _WIDTH, _WIDTH), np.float32) if sees is None else sees
    yield f"{name}.mlp.0.bias", np.full(4 * _WIDTH, -4.0, np.float32)
    yield f"{name}.mlp.2.weight", np.zeros((_WIDTH, 4 * _WIDTH), np.float32) if says is None else says
    yield f"{name}.mlp.2.bias", np.zeros(_WIDTH, np.float32)


def write(path: Path) -> None:
    """The model as a file of about 7 MB."""
    words, _ = table()
    shape = (_VOCABULARY, _AUDIO_CONTEXT, _WIDTH, _HEADS, _AUDIO_LAYERS, _TEXT_CONTEXT, _WIDTH, _HEADS, _TEXT_LAYERS)
    with path.open("wb") as file:
        file.write(struct.pack("<12i", 0x67676D6C, *shape, _MELS, _F16))
        file.write(struct.pack("<2i", _MELS, _BINS))
        file.write(np.full((_MELS, _BINS), 1.0 / _BINS, np.float32).tobytes())
        file.write(struct.pack("<i", len(words)))
        for word in words:
            file.write(struct.pack("<i", len(word)) + word)
        for name, values in weights():
            is_small = values.ndim < 2 or name.endswith((".positional_embedding", ".bias"))
            kind = _F32 if is_small else _F16
            file.write(struct.pack("<3i", values.ndim, len(name), kind))
            file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + name.encode())
            file.write(values.astype(np.float32 if is_small else np.float16).tobytes())
