"""Writing and reading the three formats; int8 for ONNX. ONNX and its runtime are imported only where they are used."""

from __future__ import annotations

import copy
import importlib
import io
import json
import logging
import math
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdlab.export.reading import REMEDY, check_card, check_program
from kdlab.files import MOST_BYTES, one_line, remove_leftovers, replacing, scratch_folder
from kdlab.methods.checkpoints import check_archive
from kdlab.types import InputError, MissingFileError

#: format -> how its files end
FORMATS = {"torch": ".pt", "torch.export": ".pt2", "onnx": ".onnx"}
INPUT, OUTPUT = "windows", "logits"
_CARD = "card.json"
_KEY = "kdlab"
_BATCH = 64  # windows at a time in calibration


def need(what: str, *modules: str) -> list[Any]:
    """Import modules of the ``export`` extra.

    Raises:
        InputError: naming the module that is missing and how to install it.
    """
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        raise InputError(
            f"{what}: needs {error.name or 'a module'}, which is not installed. Run: pip install 'kdlab[export]'"
        ) from error


def write(
    module: nn.Module,
    path: Path,
    format: str,
    card: dict[str, Any],
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write a net that reads windows, with its card inside.

    Args:
        module: windows ``(B, C, T)`` or images ``(B, C, H, W)`` to logits ``(B, K)``, in evaluation mode.
        path: the file.
        format: a key of ``FORMATS``.
        card: the card; int8 notes in it how many of the weights are int8.
        calibration: windows ``(N, C, T)`` (or images) that show the range of every activation; given, the net becomes
            int8.
    """
    shape = tuple(card["input"]["shape"][1:])
    if format == "torch":
        _put(path, lambda file: torch.save({_KEY: json.dumps(card), "state_dict": module.state_dict()}, file))
    elif format == "torch.export":
        program = _trace(module, shape)
        _put(path, lambda file: torch.export.save(program, file, extra_files={_CARD: json.dumps(card)}))
    else:
        (onnx,) = need("format='onnx'", "onnx")
        model = _to_onnx(module, shape)
        if calibration is not None:
            model, share = _to_int8(model, calibration)
            card["quantisation"]["int8_share"] = round(share, 4)
        onnx.helper.set_model_props(model, {_KEY: json.dumps(card)})
        onnx.checker.check_model(model)
        _put(path, lambda file: file.write(model.SerializeToString()))


def _put(path: Path, write: Callable[[io.BytesIO], object]) -> None:
    """Write into memory, and from there into the file: torch's own writer ends the process on a full disk."""
    memory = io.BytesIO()
    write(memory)
    with replacing(path) as part:
        part.write_bytes(memory.getbuffer())


def read_card(path: Path) -> dict[str, Any]:
    """The card inside an exported file.

    Raises:
        InputError: when there is none, so kdlab did not export it.
    """
    if not path.is_file():
        raise MissingFileError(f"path: expected an exported file, but {str(path)!r} is none.")
    try:
        card = json.loads(_card_text(path))
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise _foreign(path) from error
    if not isinstance(card, dict) or "input" not in card or "channels" not in card:
        raise _foreign(path)
    return check_card(card, path)


def _card_text(path: Path) -> Any:
    if path.suffix == FORMATS["torch"]:
        return read_weights(path)[_KEY]
    if path.suffix == FORMATS["torch.export"]:
        with zipfile.ZipFile(path) as archive:
            entry = next(one for one in archive.infolist() if one.filename.endswith(f"extra/{_CARD}"))
            return archive.read(entry).decode() if entry.file_size < MOST_BYTES else None
    (onnx,) = need(f"path={path.name!r}", "onnx")
    properties = onnx.load(path, load_external_data=False).metadata_props
    return next(entry.value for entry in properties if entry.key == _KEY)


def read_weights(path: Path) -> dict[str, Any]:
    """Card and weights in a ``.pt``: tensors and words only, whole by their check sums.

    Raises:
        ValueError: when they are not; and whatever else PyTorch raises for a damaged file.
    """
    check_archive(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError(f"it holds a {type(loaded).__name__}")
    return loaded


def _foreign(path: Path) -> InputError:
    return InputError(
        f"path: {str(path)!r} carries no card, so kdlab export did not write it, or it is damaged. {REMEDY}."
    )


def read_program(path: Path) -> nn.Module:
    """What a ``.pt2`` runs.

    Raises:
        InputError: when it is damaged, or holds more than tensors and ATen operations.
    """
    check_program(path)
    try:
        with quiet():
            program: nn.Module = torch.export.load(path).module()
    except Exception as error:  # torch raises whatever a damaged program makes it raise
        raise InputError(f"path: {str(path)!r} cannot be read as a program ({one_line(error)}). {REMEDY}.") from error
    return program


class OnnxModule(nn.Module):
    """An ONNX file behind the call of a module, on the CPU.

    Args:
        path: the file; one input, one output.
        threads: of one call; 0: as many as the runtime thinks fit.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        super().__init__()
        (runtime,) = need(f"path={path.name!r}", "onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self.path, self.threads = path, threads
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of classes of its own
            raise InputError(f"path: {str(path)!r} cannot be run ({one_line(error)}). {REMEDY}.") from error
        names = [part.name for part in (*self.session.get_inputs(), *self.session.get_outputs())]
        if names != [INPUT, OUTPUT]:
            raise InputError(f"path: {str(path)!r} must read {INPUT} and return {OUTPUT}, but has {names}. {REMEDY}.")

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return OnnxModule(self.path, self.threads)  # a session cannot be copied

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows ``(B, C, T)`` or images ``(B, C, H, W)``."""
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: windows.numpy()})[0])


# ------------------------------------------------------------------ tracing
def _traced_with(shape: tuple[int, ...]) -> dict[str, Any]:
    # two windows, since torch.export takes a batch of one for a constant; zeros, since the file keeps them
    batch = torch.export.Dim("batch", min=1)
    return {"args": (torch.zeros(2, *shape),), "dynamic_shapes": {INPUT: {0: batch}}}


def _trace(module: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    with quiet(), _explained("torch.export"):
        program = torch.export.export(module, **_traced_with(shape))
    for node in program.graph.nodes:  # lines and folders of the machine that it was made on
        for origin in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
            node.meta.pop(origin, None)
    return program


def _to_onnx(module: nn.Module, shape: tuple[int, ...]) -> Any:
    need("format='onnx'", "onnx", "onnxscript")
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with quiet(), _explained("onnx"):
        program = torch.onnx.export(module, **_traced_with(shape), **names, dynamo=True, verbose=False)
        assert program is not None  # dynamo=True returns one
        model = program.model_proto
        if model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):
            raise RuntimeError(
                "Constraints violated (batch)!"
            )  # as torch.export says it; ONNX would keep a batch of two
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        for origin in ("metadata_props", "doc_string"):  # likewise, and a quarter of the file
            part.ClearField(origin)
    return model


@contextmanager
def _explained(format: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the exporters raise whatever the net's operations make them raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = " An operation fixes the number of windows: write x.shape[0], not len(x)." if "batch" in lines[0] else ""
        raise InputError(
            f"format={format!r}: this net cannot be traced ({lines[0]}).{hint} Or use format='torch', which keeps the "
            "weights and builds the net again."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' remarks on packages that a net of kdlab does not use."""
    loggers = [logging.getLogger(name) for name in (None, "torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


# ------------------------------------------------------------------ int8
def _to_int8(model: Any, calibration: NDArray[np.float32]) -> tuple[Any, float]:
    """Quantise convolutions and matrix products: weights int8 per output channel, activations int8 per tensor.

    Both are signed, which suits the ARM cores of watches and loses nothing on others; the head's logits stay float32.

    Returns:
        The model, and the share of its weights that is int8.
    """
    onnx, quantization, shapes = need(
        "quantize='int8'", "onnx", "onnxruntime.quantization", "onnxruntime.quantization.shape_inference"
    )
    windows = [{INPUT: calibration[i : i + _BATCH]} for i in range(0, len(calibration), _BATCH)]

    remove_leftovers(tempfile.gettempdir())
    with scratch_folder() as folder, quiet():
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        shapes.quant_pre_process(copy.deepcopy(model), prepared)
        quantization.quantize_static(
            prepared,
            made,
            _Reader(windows),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantised = onnx.load(made)
    share = _int8_share(quantised, model, onnx)
    if share == 0:
        raise InputError("quantize='int8': this net has no convolution or matrix product to quantise. Leave it out.")
    return quantised, share


class _Reader:
    """Hands out calibration windows, as the quantiser asks for them."""

    def __init__(self, windows: list[dict[str, NDArray[np.float32]]]) -> None:
        self._left = iter(windows)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._left, None)


def _int8_share(quantised: Any, model: Any, onnx: Any) -> float:
    def count(of: Any, kind: int) -> int:
        return sum(math.prod(t.dims) for t in of.graph.initializer if t.data_type == kind and t.dims)

    return count(quantised, onnx.TensorProto.INT8) / max(count(model, onnx.TensorProto.FLOAT), 1)
