"""mAP of a run's model as it is, and through the preprocessing of the trackers that it is exported for.

    python tools/through_trackers.py logs/demo/demo/seed1/mmt --output exports

The export with pixels of 0-255 shows what a tracker makes of a model that was not exported for it. Needs
`pip install "mmt_plugin[trackers]"`.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmt_plugin import data
from mmt_plugin.data.items import build_dataset
from mmt_plugin.inference import FeatureExtractor, export
from mmt_plugin.inference.inference_network import locate
from mmt_plugin.retrieval.evaluation import evaluate

BATCH = 64


def boxmot(model: Path) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Crops in OpenCV's order to features, as boxes of one wide frame."""
    import torch

    name = "ONNX" if model.suffix == ".onnx" else "Torchscript"
    module = importlib.import_module(f"boxmot.reid.backends.{name.lower()}_backend")
    backend = getattr(module, f"{name}Backend")(model, torch.device("cpu"), half=False)

    def features(crops: list[np.ndarray]) -> np.ndarray:
        ends = np.cumsum([crop.shape[1] for crop in crops])
        frame = np.zeros((max(crop.shape[0] for crop in crops), ends[-1], 3), np.uint8)
        boxes = []
        for crop, end in zip(crops, ends, strict=True):
            height, width = crop.shape[:2]
            frame[:height, end - width : end] = crop
            boxes.append((end - width, 0, end, height))
        return backend.get_features(np.array(boxes, float), frame)

    return features


def ultralytics(model: Path) -> Callable[[list[np.ndarray]], np.ndarray]:
    reid = importlib.import_module("ultralytics.trackers.utils.reid").ReID(str(model), device="cpu")
    return lambda crops: reid.model(reid._crops_to_tensor(crops)).cpu().numpy().copy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="of the exports")
    arguments = parser.parse_args()
    cfg = locate(arguments.run).cfg
    data.configure(cfg)
    dataset = build_dataset(cfg.DATASETS.TESTS[0])
    items, count = [*dataset.query, *dataset.gallery], len(dataset.query)
    files, ids, cameras = ([item[k] for item in items] for k in range(3))
    crops = [np.ascontiguousarray(np.asarray(Image.open(file).convert("RGB"))[..., ::-1]) for file in files]

    def score(features: np.ndarray) -> float:
        labels = [
            np.array(values[part]) for values in (ids, cameras) for part in (slice(count), slice(count, None))
        ]
        return evaluate(features[:count], features[count:], *labels).metrics["mAP"]

    rows = [("FeatureExtractor", score(FeatureExtractor(arguments.run)(files).numpy()), "")]
    for client, format, through in (
        ("boxmot", "onnx", boxmot),
        ("boxmot", "torchscript", boxmot),
        ("ultralytics", "onnx", ultralytics),
    ):
        scores, ways = [], [(client, {"client": client})]
        if format == "onnx":  # BoxMOT feeds other TorchScript files images of a size that they refuse
            ways.append(("raw", {"normalized": True}))
        for name, options in ways:
            folder = arguments.output / f"{name}_{format}"
            if not folder.exists():
                export(arguments.run, format, folder, files[:4], **options)
            features = through(folder / f"model.{format}")
            parts = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
            scores.append(score(np.concatenate([features(part) for part in parts])))
        rows.append((f"{client}, {format}", *scores))
    print(tabulate(rows, headers=["through", "mAP", "exported for 0-255"], floatfmt=".2f"))


if __name__ == "__main__":
    main()
