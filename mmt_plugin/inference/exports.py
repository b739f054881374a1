"""A run's chosen network as files that need no plugin, checked on real crops before they get their name.

Shapes: B batch, D feature size.
"""

import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from fastreid.config import CfgNode, get_cfg
from fastreid.data.transforms import build_transforms
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.checkpoint import Checkpointer
from torch import Tensor

from mmt_plugin import data
from mmt_plugin.data.build import build_dataset
from mmt_plugin.modeling.layers import fold_batch_norm
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.files import UNFINISHED, replace_when_complete
from mmt_plugin.weights.network import CLASSIFIER, save_safetensors

from .images import GivenImages, ImageLike
from .network import (
    CONFIG,
    EXPORTED,
    ExportError,
    PixelsToFeatures,
    import_optional,
    load,
    load_trained,
    locate,
)
from .plain import plain_weights

# Largest difference of any feature's entry between the network and its export.
TOLERANCE = 1e-4
# Real crops of the run's own data set to compare on, where none are named.
NUM_CROPS = 16


def export(
    source: str | os.PathLike, format: str, output: str | os.PathLike, images: Sequence[ImageLike] = ()
) -> float:
    """Write a run's chosen network, its domain-specific BN folded and its classifier left out.

    Args:
        source: a run's folder or one of its checkpoints, see `locate`.
        format: one of FORMATS.
        output: folder to make, of the model and a config.yaml with its pre-processing.
        images: to compare on; by default images of the run's test set.

    Returns:
        The largest difference between the features of the network and of the export as read back from disk.

    Raises:
        ExportError: the folder is there already, there is no such format of the network, or the features
            differ by more than TOLERANCE. No file stays.
        CheckpointError: there is no such model.
        FileNotFoundError: no images are given, and the data set's folder is missing.
    """
    model = locate(source)
    if model.is_program:
        raise ExportError(f"{os.fspath(source)!r} is an export already; name the run it was made from")
    resolve_device(model.cfg)
    crops = read_crops(model.cfg, images)
    network = load_trained(model)
    expected = _features(network, crops)
    fold_batch_norm(network)
    with _folder_when_complete(Path(output)) as folder:
        cfg = FORMATS[format](network, model.cfg.clone(), folder)
        cfg.MODEL.WEIGHTS = os.fspath(Path(output, EXPORTED[format]))
        cfg.OUTPUT_DIR = os.fspath(Path(output, "evaluation"))
        with replace_when_complete(os.fspath(folder / CONFIG), "w") as file:
            file.write(cfg.dump())
        reader = read_as_host if format == "fastreid" else _read
        difference = float((_features(reader(folder), crops) - expected).abs().max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the features of the {format} file differ from the network's by up to {difference:.2g}, "
                f"more than {TOLERANCE:g}; nothing was written"
            )
    return difference


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
    return _inference_config(cfg)


def _write_torchscript(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    buffer = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the check on crops says whether it went well
        torch.jit.save(torch.jit.trace(network, _example(cfg), check_trace=False), buffer)
    _write(buffer, folder / EXPORTED["torchscript"])
    return _inference_config(cfg)


def _write_onnx(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    for package in ("onnx", "onnxruntime"):
        import_optional(package)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (_example(cfg),),
            buffer,
            dynamo=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
        )
    _write(buffer, folder / EXPORTED["onnx"])
    return _inference_config(cfg)


# Each writes the model's file into a folder, and returns the configuration that goes with it.
FORMATS: dict[str, Callable[[PixelsToFeatures, CfgNode, Path], CfgNode]] = {
    "fastreid": _write_fastreid,
    "safetensors": _write_safetensors,
    "torchscript": _write_torchscript,
    "onnx": _write_onnx,
}


def _inference_config(cfg: CfgNode) -> CfgNode:
    """The run's configuration for a single network with ordinary BN, without anything to start from."""
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MMT.IMAGES_PER_BN = 0
    cfg.MMT.DSBN.ENABLED = False
    cfg.MMT.WEIGHTS = ()
    return cfg


def _example(cfg: CfgNode) -> Tensor:
    """A batch of two, so that nothing takes its size for a constant 1."""
    return torch.zeros(2, 3, *cfg.INPUT.SIZE_TEST)


def _write(buffer: io.BytesIO, path: Path) -> None:
    with replace_when_complete(os.fspath(path), "wb") as file:
        file.write(buffer.getvalue())


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
