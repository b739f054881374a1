"""The network that a run or an export uses for inference. Shapes: B batch, D feature size."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn

from mmt_plugin.config.architecture import check_registered
from mmt_plugin.errors import UserError
from mmt_plugin.modeling.network import build_network
from mmt_plugin.runs.run import Run, RunError, is_run
from mmt_plugin.runs.run_files import CONFIG, SLIM_MODEL
from mmt_plugin.system.memory import keep_freed_memory
from mmt_plugin.weights.load_network import inference_weights, load_network

from .pixels import convert_pixels

# The model's file in the folder of an export, by what reads it.
EXPORTED = {
    "fastreid": SLIM_MODEL,
    "safetensors": "model.safetensors",
    "torchscript": "model.torchscript",
    "onnx": "model.onnx",
}


class ExportError(UserError, RuntimeError):
    """Nothing was exported; the message says why, and what to do instead."""


@dataclass(frozen=True)
class ModelFile:
    """A file of weights, or of a whole program, and the configuration it was made with."""

    cfg: CfgNode
    path: Path

    @property
    def is_program(self) -> bool:
        """Whether the file brings its own code: TorchScript or ONNX."""
        return self.path.name in (EXPORTED["torchscript"], EXPORTED["onnx"])


class PixelsToFeatures(nn.Module):
    """Normalisation of pixels and one network, in evaluation mode."""

    def __init__(self, network: nn.Module, mean: list[float], std: list[float], normalized: bool = False):
        """
        Args:
            network: of normalised images, such as a ReIDNetwork.
            mean: 3 channel means, of pixels as they come.
            std: 3 channel deviations.
            normalized: whether features get unit length.
        """
        super().__init__()
        self.network = network
        self.normalized = normalized
        self.register_buffer("pixel_mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """RGB pixels, B x 3 x H x W -> B x D float32."""
        features = self.network((images - self.pixel_mean) / self.pixel_std).float()
        return F.normalize(features) if self.normalized else features


def locate(source: str | os.PathLike) -> ModelFile:
    """The model of a run's folder, of an export's folder, or a checkpoint that a run has written.

    Of a run it is the checkpoint that its rule (MMT.SELECTION.RULE) has chosen: the last, or the best.

    Raises:
        RunError: there is none; the message says what is missing.
    """
    source = Path(source)
    if not source.exists():
        raise RunError(f"{os.fspath(source)!r} does not exist: name a run's folder, or an export's")
    folder = source if source.is_dir() else source.parent
    if not is_run(folder):
        raise RunError(f"{os.fspath(folder)!r} is no run and no export: it holds no {CONFIG}")
    if source.is_file():
        return ModelFile(Run(folder).cfg, source)
    exported = next((folder / name for name in EXPORTED.values() if (folder / name).is_file()), None)
    run = Run(folder)
    return ModelFile(run.cfg, exported or run.weights)


def load(model: ModelFile, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What turns pixels (B x 3 x H x W, 0-255) into features (B x D float32) on a device."""
    keep_freed_memory(device)
    if not model.is_program:
        return load_trained(model).to(device)
    if model.path.name == EXPORTED["onnx"]:
        program = _onnx_session(model.path, device)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch recommends its exporter for new programs
            program = torch.jit.load(model.path, map_location=device).eval()
    export, dtype = model.cfg.EXPORT, torch.float16 if model.cfg.EXPORT.HALF else torch.float32
    return lambda images: program(convert_pixels(images, export.PIXELS).to(dtype)).float()


def load_trained(model: ModelFile) -> PixelsToFeatures:
    """The network as it was trained, its batch normalisation unchanged; evaluation uses the target's.

    Raises:
        CheckpointError: the weights do not fit the configuration, or are of no backbone and head.
    """
    check_registered(model.cfg, inference=True)
    cfg = model.cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    network = build_network(cfg)
    load_network(network, inference_weights(str(model.path), network), str(model.path))
    return PixelsToFeatures(network, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)


def _onnx_session(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    onnxruntime = import_optional("onnxruntime")
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    session = onnxruntime.InferenceSession(path, providers=providers)

    def run(images: Tensor) -> Tensor:
        (features,) = session.run(None, {"images": images.cpu().numpy()})
        return torch.from_numpy(features)

    return run


def import_optional(name: str):
    """A module that only some formats of export need.

    Raises:
        ImportError: naming the command that installs it.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(f"ONNX needs the package {name}: pip install 'mmt_plugin[export]'") from error
