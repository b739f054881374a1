"""Programs that take an exported network as it is: the pixels they feed it, and what they read beside it.

BoxMOT 25 (boxmot/reid/core/artifacts.py) reads the image size from ``<model>.metadata.json``; Ultralytics 8.4
(trackers/utils/reid.py) reads it from the ONNX graph. deep-sort-realtime and Norfair take features that the
caller computes: for them the folder holds ``embedder.py``, which needs onnxruntime, numpy and Pillow only.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode

from mmt_plugin.system.files import replace_when_complete


def write_boxmot_metadata(folder: Path, model: Path, cfg: CfgNode) -> None:
    """The file that BoxMOT reads the crop size from."""
    size = list(cfg.INPUT.SIZE_TEST)
    content = {
        "schema_version": 1,
        "preprocess": "resize",
        "model_kwargs_schema_version": 1,
        "model_kwargs": {"img_size": size},
        "img_size": size,
    }
    _write(folder / f"{model.name}.metadata.json", json.dumps(content, indent=1))


def write_embedder(folder: Path, model: Path, cfg: CfgNode) -> None:
    """A module of one class, from crops to unit features, for trackers that take features."""
    height, width = cfg.INPUT.SIZE_TEST
    _write(folder / "embedder.py", EMBEDDER.format(model=model.name, height=height, width=width))


def _write(path: Path, text: str) -> None:
    with replace_when_complete(str(path), "w") as file:
        file.write(text)


@dataclass(frozen=True)
class Client:
    """How a program uses an exported network.

    Attributes:
        pixels: what it feeds the network with, one of PIXELS.
        formats: that it reads, its best first.
        write_beside: what it wants beside the model; None: nothing.
    """

    pixels: str
    formats: tuple[str, ...]
    write_beside: Callable[[Path, Path, CfgNode], None] | None = None


CLIENTS = {
    "boxmot": Client("imagenet", ("onnx", "torchscript"), write_boxmot_metadata),
    "ultralytics": Client("unit", ("onnx",)),
    "deepsort": Client("raw", ("onnx",), write_embedder),
    "norfair": Client("raw", ("onnx",), write_embedder),
}

EMBEDDER = '''"""Features of crops for trackers that take them, such as deep-sort-realtime and Norfair.

    from embedder import Embedder

    embed = Embedder()
    features = embed([frame[y : y + h, x : x + w] for x, y, w, h in boxes])   # N x D, unit length
    tracker.update_tracks(detections, embeds=list(features))                  # deep-sort-realtime
    Detection(points=box, embedding=feature)                                  # Norfair, with its distance
"""

from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HEIGHT, WIDTH = {height}, {width}


class Embedder:
    """Crops, H x W x 3 uint8 arrays, to N x D float32 features of unit length.

    Args:
        bgr: whether the arrays are in OpenCV's channel order.
    """

    def __init__(self, path=Path(__file__).with_name("{model}"), bgr=True, providers=None):
        self.bgr = bgr
        self.session = onnxruntime.InferenceSession(
            str(path), providers=providers or onnxruntime.get_available_providers()
        )
        (given,) = self.session.get_inputs()
        self.dtype = np.float16 if given.type == "tensor(float16)" else np.float32

    def __call__(self, crops):
        batch = np.zeros((len(crops), 3, HEIGHT, WIDTH), self.dtype)
        for row, crop in enumerate(crops):
            picture = Image.fromarray(np.ascontiguousarray(crop[..., ::-1] if self.bgr else crop))
            picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            batch[row] = np.asarray(picture).transpose(2, 0, 1)
        (features,) = self.session.run(None, {{"images": batch}})
        return features.astype(np.float32)
'''
