"""A voice for Piper that says every phoneme as a tone of its own: an ONNX graph with the inputs and the output of the
real ones, and the JSON beside it. Phonemes are espeak-ng's, which the wheel brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper, save_model
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

#: Seconds of an id at length scale 1; a phoneme has two, its own and a pause's.
LENGTH = 0.04
#: Hz of the id 0, of each further one, and of each further speaker.
LOWEST, STEP, SPEAKER = 200.0, 4.0, 1000.0


def write(directory: Path, name: str, rate: int, speakers: int = 1) -> Path:
    """``name.onnx`` and its ``name.onnx.json``; the path of the first."""
    path = directory / f"{name}.onnx"
    save_model(_model(rate, speakers), path)
    config = {
        "audio": {"sample_rate": rate, "quality": "medium"},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": speakers,
        "speaker_id_map": {f"speaker{number}": number for number in range(speakers)} if speakers > 1 else {},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
    }
    path.with_name(f"{name}.onnx.json").write_text(json.dumps(config))
    return path


def _model(rate: int, speakers: int) -> Any:
    """(1, N) ids -> (1, 1, N * samples of an id) in [-1, 1]."""
    constants: list[Any] = []

    def number(name: str, kind: int, *values: float) -> str:
        shape = [len(values)] if len(values) != 1 or name.endswith("_shape") else []
        constants.append(helper.make_tensor(name, kind, shape, values))
        return name

    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["ids", number("column_shape", TensorProto.INT64, -1, 1)], ["column"]),
        helper.make_node("Mul", ["column", number("step", TensorProto.FLOAT, STEP)], ["above"]),
        helper.make_node("Add", ["above", number("lowest", TensorProto.FLOAT, LOWEST)], ["alone"]),
        helper.make_node("Gather", ["scales", number("which", TensorProto.INT64, 1)], ["slowness"]),
        helper.make_node("Mul", ["slowness", number("samples", TensorProto.FLOAT, LENGTH * rate)], ["length"]),
        helper.make_node("Range", [number("zero", TensorProto.FLOAT, 0), "length", number("one", 1, 1)], ["times"]),
        helper.make_node("Mul", ["times", number("turn", TensorProto.FLOAT, 6.283185307 / rate)], ["turns"]),
    ]
    if speakers > 1:
        nodes += [
            helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["speaker", number("apart", TensorProto.FLOAT, SPEAKER)], ["shift"]),
            helper.make_node("Add", ["alone", "shift"], ["pitch"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["alone"], ["pitch"]))
    nodes += [
        helper.make_node("Mul", ["pitch", "turns"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["wave"]),
        helper.make_node("Reshape", ["wave", number("sound_shape", TensorProto.INT64, 1, 1, -1)], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "samples"])]
    graph = helper.make_graph(nodes, "tones", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
