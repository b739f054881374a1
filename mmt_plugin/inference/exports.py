"""A run's chosen network as files that need no plugin, checked on real crops before they get their name.

Shapes: B batch, D feature size.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, get_cfg
from fastreid.data.transforms import build_transforms
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.checkpoint import Checkpointer
from torch import Tensor

from mmt_plugin import data
from mmt_plugin.data.items import build_dataset
from mmt_plugin.modeling.layers import fold_batch_norm
from mmt_plugin.runs.run_files import CONFIG
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.files import UNFINISHED, replace_when_complete
from mmt_plugin.weights.load_network import CLASSIFIER, save_safetensors

from .clients import CLIENTS
from .given_images import GivenImages, ImageLike
from .inference_network import (
    EXPORTED,
    ExportError,
    PixelsToFeatures,
    load,
    load_trained,
    locate,
)
from .pixels import PIXELS
from .plain import plain_weights
from .programs import inference_config, write_onnx, write_torchscript

# Largest difference of any feature's entry between the network and its export.
TOLERANCE = 1e-4
# The same for float16, of features of unit length.
HALF_TOLERANCE = 2e-2
# Real crops of the run's own data set to compare on, where none are named.
NUM_CROPS = 16


def export(
    source: str | os.PathLike,
    format: str,
    output: str | os.PathLike,
    images: Sequence[ImageLike] = (),
    *,
    client: str = "",
    pixels: str = "raw",
    normalized: bool = False,
    half: bool = False,
) -> float:
    """Write a run's chosen network, its domain-specific BN folded and its classifier left out.

    Args:
        source: a run's folder or one of its checkpoints, see `locate`.
        format: one of FORMATS.
        output: folder to make, of the model and a config.yaml with its pre-processing.
        images: to compare on; by default images of the run's test set.
        client: one of CLIENTS, the program that is to use the file: decides ``pixels``, and makes features of
            unit length.
        pixels: what a TorchScript or ONNX program takes, one of PIXELS.
        normalized: whether it gives features of unit length.
        half: whether its weights, pixels and features are float16.

    Returns:
        The largest difference between the features of the network and of the export as read back from disk;
        with ``half`` of features of unit length.

    Raises:
        ExportError: the folder is there already, there is no such format of the network, or the features
            differ by more than TOLERANCE. No file stays.
        CheckpointError: there is no such model.
        FileNotFoundError: no images are given, and the data set's folder is missing.
    """
    model = locate(source)
    if model.is_program:
        raise ExportError(f"{os.fspath(source)!r} is an export already; name the run it was made from")
    if client:
        _check_client(client, format)
        pixels, normalized = CLIENTS[client].pixels, True
    if pixels not in PIXELS:
        raise ExportError(f"pixels {pixels!r} are unknown; choose one of {', '.join(PIXELS)}")
    if format not in PROGRAMS and (pixels != "raw" or normalized or half):
        raise ExportError(
            f"{format} holds weights, not a program: pixels, unit length and float16 are for "
            f"{' and '.join(PROGRAMS)}"
        )
    settings = model.cfg.clone()
    settings.defrost()
    settings.EXPORT.PIXELS, settings.EXPORT.NORMALIZED, settings.EXPORT.HALF = pixels, normalized, half
    resolve_device(model.cfg)
    crops = read_crops(model.cfg, images)
    network = load_trained(model)
    expected = _features(network, crops)
    if normalized or half:
        expected = F.normalize(expected)
    fold_batch_norm(network)
    with _folder_when_complete(Path(output)) as folder:
        cfg = FORMATS[format](network, settings, folder)
        if client and (write_beside := CLIENTS[client].write_beside):
            write_beside(folder, folder / EXPORTED[format], cfg)
        cfg.MODEL.WEIGHTS = os.fspath(Path(output, EXPORTED[format]))
        cfg.OUTPUT_DIR = os.fspath(Path(output, "evaluation"))
        with replace_when_complete(os.fspath(folder / CONFIG), "w") as file:
            file.write(cfg.dump())
        reader = read_as_host if format == "fastreid" else _read
        found = _features(reader(folder), crops)
        difference = float(((F.normalize(found) if half else found) - expected).abs().max())
        tolerance = HALF_TOLERANCE if half else TOLERANCE
        if not difference <= tolerance:
            raise ExportError(
                f"the features of the {format} file differ from the network's by up to {difference:.2g}, "
                f"more than {tolerance:g}; nothing was written"
            )
    return difference


def _check_client(client: str, format: str) -> None:
    if client not in CLIENTS:
        raise ExportError(f"client {client!r} is unknown; choose one of {', '.join(CLIENTS)}")
    if format not in CLIENTS[client].formats:
        raise ExportError(f"{client} does not read {format}; choose {' or '.join(CLIENTS[client].formats)}")


def read_crops(cfg: CfgNode, images: Sequence[ImageLike] = ()) -> Tensor:
    """Images under the test transform, B x 3 x H x W: those given, or NUM_CROPS of the run's own.

    Raises:
        FileNotFoundError: the data set's folder is missing.
    """
    images = images or _crops_of_run(cfg)
    given = GivenImages(images, build_transforms(cfg, is_train=False))
    return torch.stack([given[index] for index in range(len(given))])


def _crops_of_run(cfg: CfgNode) -> list[str]:
    data.configure(cfg)
    name = next(iter((*cfg.DATASETS.TESTS, *cfg.DATASETS.TARGETS, *cfg.DATASETS.NAMES)), None)
    if name is None:
        raise ExportError("the run names no data set to compare on: name images (--images)")
    try:
        dataset = build_dataset(name)
    except (FileNotFoundError, RuntimeError) as error:
        raise FileNotFoundError(f"{error}; or name other images to compare on (--images)") from error
    items = [*dataset.query, *dataset.gallery, *dataset.train]
    return [item[0] for item in items[:NUM_CROPS]]


@torch.inference_mode()
def _features(network: Callable[[Tensor], Tensor], crops: Tensor) -> Tensor:
    """Features of the crops together, and of the first alone: exports take batches of any size."""
    return torch.cat([network(crops), network(crops[:1])])


def _read(folder: Path) -> Callable[[Tensor], Tensor]:
    return load(locate(folder), torch.device("cpu"))


def read_as_host(folder: Path) -> Callable[[Tensor], Tensor]:
    """The exported Baseline as fastreid itself builds and loads it."""
    cfg = get_cfg()
    cfg.merge_from_file(os.fspath(folder / CONFIG))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    Checkpointer(model).load(os.fspath(folder / EXPORTED["fastreid"]))
    return lambda images: model({"images": images.clone()})


def _write_fastreid(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    weights, plain = plain_weights(network, cfg)
    with replace_when_complete(os.fspath(folder / EXPORTED["fastreid"]), "wb") as file:
        torch.save({"model": weights}, file)
    return plain


def _write_safetensors(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    weights = {key: value for key, value in network.network.state_dict().items() if key != CLASSIFIER}
    save_safetensors(weights, folder / EXPORTED["safetensors"])
    return inference_config(cfg)


# Each writes the model's file into a folder, and returns the configuration that goes with it.
FORMATS: dict[str, Callable[[PixelsToFeatures, CfgNode, Path], CfgNode]] = {
    "fastreid": _write_fastreid,
    "safetensors": _write_safetensors,
    "torchscript": write_torchscript,
    "onnx": write_onnx,
}
PROGRAMS = ("torchscript", "onnx")


@contextmanager
def _folder_when_complete(output: Path) -> Iterator[Path]:
    """A folder to write into that takes its name at the end of the block, or goes if the block fails.

    Raises:
        ExportError: there is something of that name.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ExportError(f"{os.fspath(output)!r} is there already: delete it, or choose another --output")
    unfinished = output.with_name(f"{output.name}.{os.getpid()}{UNFINISHED}")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
