"""ONNX Runtime sessions with the options that suit this package; every ONNX file is opened here."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from clipsep.errors import ClipsepError

onnxruntime.disable_telemetry_events()  # see also ORT_DISABLE_TELEMETRY in clipsep/__init__.py


def open_session(
    model: bytes | Path, name: str, threads: int | None = None, device: str = "cpu"
) -> onnxruntime.InferenceSession:
    """Open an ONNX model, given as bytes or as a file.

    Args:
        name: what messages call the model.
        threads: how many one operation uses; None for one per core.
        device: ``cpu``, ``cuda`` or ``cuda:N``; a GPU needs onnxruntime-gpu.

    Raises:
        ClipsepError: if the model is missing or damaged.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they come as exceptions as well
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Weights stored as int8 or half precision become float32 once, while the file is read, and not in
    # every run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # A thread that waits must not keep a core busy that decodes, filters or trains meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        number = device.partition(":")[2] or "0"
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # ONNX Runtime has a class for each kind of damage
        reason = str(error).strip().split("\n")[0]
        raise ClipsepError(f"ONNX Runtime cannot read {name}: {reason}") from error
