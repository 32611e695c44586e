"""Export of a checkpoint to ONNX: a graph beside the weights, which both engines then share.

The graph holds no large weights of its own. It points at the tensors inside model.safetensors (ONNX
calls them external data: a file, an offset, a length), which become float32 when a session is opened.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clipsep.checkpoint import (
    CONFIG_NAME,
    KNOWN_NAME,
    ONNX_NAME,
    WEIGHTS_NAME,
    CheckpointConfig,
    find_checkpoint,
    load_checkpoint,
)
from clipsep.engines.onnx import OnnxEngine
from clipsep.engines.pytorch import PyTorchEngine
from clipsep.errors import ClipsepError
from clipsep.files import write_whole
from clipsep.models.network import SeparationModel

OPSET = 18  # enough for all that the networks do
LARGEST_DIFFERENCE = 1e-4  # of a mask between the engines
_SMALLEST_SHARED = 128  # numbers; fewer are kept in the graph
_LARGEST_FOLDED = 4096  # numbers; larger weights stay as they are stored, and are shared
_SAFETENSORS_TYPES = {"F32": np.float32, "F16": np.float16}


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the checkpoint, with model.onnx in it.
        n_bytes: size of model.onnx.
        difference: largest difference of a mask between ONNX Runtime and PyTorch.
    """

    folder: Path
    n_bytes: int
    difference: float


def export_checkpoint(model: str | Path, output: str | Path | None = None) -> Export:
    """Write model.onnx beside a checkpoint's weights, and check that it gives the same masks.

    Args:
        model: name of a shipped one, folder or hub id.
        output: folder for a copy of the checkpoint with its model.onnx; by default the model's own.

    Raises:
        UsageError: if there is no such model.
        ClipsepError: if it cannot be read or written, or ONNX Runtime gives other masks than PyTorch.
    """
    source = find_checkpoint(model)
    checkpoint = load_checkpoint(source)
    folder = Path(output) if output else source
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.resolve() != source.resolve():
            for name in (CONFIG_NAME, WEIGHTS_NAME, KNOWN_NAME):
                if name != KNOWN_NAME or checkpoint.config.known is not None:
                    shutil.copyfile(source / name, folder / name)
        content = _onnx_file(checkpoint.model, checkpoint.config, folder / WEIGHTS_NAME)
        write_whole(folder / ONNX_NAME, content)
    except OSError as error:
        raise ClipsepError(
            f"Cannot write the model to '{folder}': {error.strerror or error}."
        ) from error
    difference = _difference(checkpoint.model, checkpoint.config, folder)
    if not difference <= LARGEST_DIFFERENCE:  # NaN, too
        (folder / ONNX_NAME).unlink()
        raise ClipsepError(
            f"The model '{checkpoint.config.name}' gives other masks in ONNX Runtime than in PyTorch, by "
            f"up to {difference:.1e}: its {ONNX_NAME} was not kept."
        )
    return Export(folder, len(content), difference)


class _Masks(nn.Module):
    """A model as the graph has it: queries [N, D] that hold for the whole batch."""

    def __init__(self, model: SeparationModel):
        super().__init__()
        self.model = model

    def forward(self, log_magnitude: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        return self.model.query_logits(log_magnitude, queries[None])


class _MasksWithoutQueries(nn.Module):
    """The same for a model that takes no queries."""

    def __init__(self, model: SeparationModel):
        super().__init__()
        self.model = model

    def forward(self, log_magnitude: torch.Tensor) -> torch.Tensor:
        return self.model.query_logits(log_magnitude, None)


def _onnx_file(model: SeparationModel, config: CheckpointConfig, weights: Path) -> bytes:
    """Build the graph, whose large weights are those of the file ``weights`` in the same folder."""
    import onnx

    graph = onnx.load_from_string(_exported(model, config))
    _share_weights(graph.graph, weights)
    for node in graph.graph.node:  # which line of the source it comes from
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.graph.value_info[:], graph.graph.metadata_props[:], graph.metadata_props[:]
    # By which a session knows that the two files belong together.
    graph.metadata_props.add(key=OnnxEngine.WEIGHTS_KEY, value=config.sha256)
    return graph.SerializeToString(deterministic=True)


def _exported(model: SeparationModel, config: CheckpointConfig) -> bytes:
    """Export the graph with its own weights; batch, queries and, where that works, frames stay open."""
    import onnx_ir.passes.common as passes
    import onnxscript.optimizer

    with _quiet(), torch.no_grad():
        try:
            program = _traced(model, config, any_length=True)
        except torch.onnx.OnnxExporterError:
            # The exporter finds no rule for the sizes that some networks take, such as the published one.
            program = _traced(model, config, any_length=False)
        onnxscript.optimizer.fold_constants(
            program.model, input_size_limit=_LARGEST_FOLDED, output_size_limit=_LARGEST_FOLDED
        )
        for tidy in (
            passes.RemoveUnusedNodesPass(),
            passes.CommonSubexpressionEliminationPass(),
            passes.IdentityEliminationPass(),
        ):
            tidy(program.model)
    return program.model_proto.SerializeToString()


def _traced(
    model: SeparationModel, config: CheckpointConfig, any_length: bool
) -> torch.onnx.ONNXProgram:
    inputs = _inputs(config, batch=2, n_queries=3)
    batch, queries, frames = (torch.export.Dim(name) for name in ("B", "N", "frames"))
    length = {3: model.network.stride * frames} if any_length else {}
    shapes = [{0: batch, **length}, {0: queries}]
    wrapped = (_Masks(model) if len(inputs) == 2 else _MasksWithoutQueries(model)).eval()
    wrapped(*inputs)  # makes what networks keep from one pass to the next
    program = torch.onnx.export(
        wrapped,
        inputs,
        dynamo=True,
        optimize=False,  # it would merge norms into convolutions, which then are nobody's weights
        input_names=["log_magnitude", "queries"][: len(inputs)],
        output_names=["mask_logits"],
        dynamic_shapes=tuple(shapes[: len(inputs)]),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    return program


def _share_weights(graph: Any, weights: Path) -> None:
    """Point initializers at the stored tensors that hold the same numbers, also in transposed order."""
    from onnx import numpy_helper

    stored = {
        values.astype(np.float32).tobytes(): (kind, offset, values.nbytes)
        for kind, offset, values in _stored_tensors(weights)
        if values.size >= _SMALLEST_SHARED
    }
    kept, nodes = [], []
    for initializer in graph.initializer:
        numbers = numpy_helper.to_array(initializer)
        # The exporter transposes the matrices of linear layers.
        for array in (numbers, numbers.T) if numbers.ndim == 2 else (numbers,):
            if found := stored.get(array.tobytes()):
                shared, steps = _shared(initializer.name, array, array is not numbers, *found)
                shared.external_data.add(key="location", value=weights.name)
                kept.append(shared)
                nodes += steps
                break
        else:
            kept.append(initializer)
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _shared(
    name: str, stored: np.ndarray, is_transposed: bool, kind: str, offset: int, n_bytes: int
) -> tuple[Any, list[Any]]:
    """Make the initializer of a stored tensor, and the nodes that make it what the graph calls ``name``.

    A session computes such nodes once, when it is opened.
    """
    from onnx import TensorProto, helper

    types = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16}
    steps: list[tuple[str, dict[str, Any]]] = (
        [("Cast", {"to": TensorProto.FLOAT})] if kind != "F32" else []
    )
    steps += [("Transpose", {"perm": [1, 0]})] if is_transposed else []
    names = [f"{name}.{n}" for n in range(len(steps))] + [name]
    shared = TensorProto(name=names[0], dims=stored.shape, data_type=types[kind])
    shared.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", offset), ("length", n_bytes)):
        shared.external_data.add(key=key, value=str(value))
    return shared, [
        helper.make_node(operation, [source], [target], **attributes)
        for (operation, attributes), source, target in zip(steps, names, names[1:], strict=False)
    ]


def _stored_tensors(weights: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    """Type, place in the file and numbers of each tensor of a safetensors file."""
    content = weights.read_bytes()
    (header_length,) = struct.unpack("<Q", content[:8])
    start = 8 + header_length
    header = json.loads(content[8:start])
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _SAFETENSORS_TYPES:
            continue
        first, end = (start + offset for offset in entry["data_offsets"])
        numbers = np.frombuffer(content[first:end], _SAFETENSORS_TYPES[entry["dtype"]])
        yield entry["dtype"], first, numbers


def _inputs(config: CheckpointConfig, batch: int, n_queries: int) -> tuple[torch.Tensor, ...]:
    """Arguments that a model of this config takes; the same each time."""
    generator = torch.Generator().manual_seed(0)
    spectral, settings = config.spectral, config.model
    shape = (batch, 1, spectral.n_bands, spectral.segment_frames)
    log_magnitude = torch.randn(shape, generator=generator)
    if settings.kind == "pit":
        return (log_magnitude,)
    dim = settings.n_labels if settings.kind == "labelsep" else settings.query_dim
    return log_magnitude, torch.randn(n_queries, dim, generator=generator)


def _difference(model: SeparationModel, config: CheckpointConfig, folder: Path) -> float:
    """Measure the largest difference of a mask between the engines, for other sizes than the export's."""
    largest = 0.0
    for batch, n_queries in ((1, 1), (3, 2)):
        arrays = [tensor.numpy() for tensor in _inputs(config, batch, n_queries)]
        arguments = (arrays[0], arrays[1] if len(arrays) == 2 else None)
        masks = [
            torch.from_numpy(engine.mask_logits(*arguments)).sigmoid().numpy()
            for engine in (OnnxEngine(folder, config), PyTorchEngine(model, "cpu"))
        ]
        largest = float(np.maximum(largest, np.abs(masks[0] - masks[1]).max()))
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress, deprecations and advice about torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
