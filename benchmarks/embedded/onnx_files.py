"""Exports a network to an ONNX file whose large weights take one or two bytes each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 20
SMALLEST = 2048  # weights; fewer stay float32
# Along which axis each row or column gets a scale of its own; Gemm's weights are transposed.
_SCALED_AXIS = {"Gather": 0, "Gemm": 0, "MatMul": 1}


def export(
    network: torch.nn.Module, example: tuple[torch.Tensor, ...], path: Path, **names: Any
) -> None:
    """Write an ONNX file: tables and matrices in int8, all other weights in half precision.

    ONNX Runtime turns them into float32 while it reads the file, all but the table of words.

    Args:
        names: of inputs and outputs, and the dynamic shapes, as `torch.onnx.export` takes them.
    """
    program = torch.onnx.export(
        network, example, dynamo=True, opset_version=OPSET, verbose=False, **names
    )
    buffer = io.BytesIO()
    program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    _compress(model.graph)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _compress(graph: onnx.GraphProto) -> None:
    users = {name: node for node in graph.node for name in node.input}
    weights, nodes = list(graph.initializer), list(graph.node)
    del graph.initializer[:], graph.node[:], graph.value_info[:], graph.metadata_props[:]
    first: list[NodeProto] = []
    for weight in weights:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALLEST:
            graph.initializer.append(weight)
            continue
        node = users[weight.name]
        if node.op_type not in _SCALED_AXIS:
            half = numpy_helper.from_array(values.astype(np.float16), f"{weight.name}.half")
            graph.initializer.append(half)
            first.append(helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT))
            continue
        axis = _SCALED_AXIS[node.op_type]
        stored, scale = _as_int8(values, axis, weight.name)
        graph.initializer.extend([stored, scale])
        if node.op_type == "Gather":
            nodes[nodes.index(node) : nodes.index(node) + 1] = _gather(node, stored, scale)
        else:
            inputs = [stored.name, scale.name]
            first.append(helper.make_node("DequantizeLinear", inputs, [weight.name], axis=axis))
    for node in (*first, *nodes):
        del node.metadata_props[:]
        node.doc_string = ""
        graph.node.append(node)


def _as_int8(values: np.ndarray, axis: int, name: str) -> tuple[TensorProto, TensorProto]:
    """Round to 255 steps between the extremes of each row (or column); also return the steps' sizes."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.abs(values).max(axis=others, keepdims=True) / 127
    scale[scale == 0] = 1
    stored = np.round(values / scale).astype(np.int8)
    return (
        numpy_helper.from_array(stored, f"{name}.int8"),
        numpy_helper.from_array(scale.reshape(-1).astype(np.float32), f"{name}.scale"),
    )


def _gather(node: NodeProto, stored: TensorProto, scale: TensorProto) -> list[NodeProto]:
    """Rows of a table that stays int8 in memory, too: only what is looked up becomes float32."""
    out = node.output[0]
    return [
        helper.make_node("Gather", [stored.name, node.input[1]], [f"{out}.int8"]),
        helper.make_node("Cast", [f"{out}.int8"], [f"{out}.rows"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [scale.name, node.input[1]], [f"{out}.scale"]),
        helper.make_node("Constant", [], [f"{out}.axis"], value_ints=[-1]),
        helper.make_node("Unsqueeze", [f"{out}.scale", f"{out}.axis"], [f"{out}.scales"]),
        helper.make_node("Mul", [f"{out}.rows", f"{out}.scales"], [out]),
    ]
