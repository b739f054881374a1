"""Exports inside the programs that use them: the same features as FeatureExtractor gives.

BoxMOT (mikel-brostrom/boxmot issues 1462, 1522, 2171) normalises pixels by ImageNet's mean and deviation,
Ultralytics feeds 0-1; a model that expects others gives wrong features without an error. Where the packages
are installed (`pip install "mmt_plugin[trackers]"`) their own preprocessing is used; a copy of what it
computes, from the versions that clients.py names, is used in any case.
"""

import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmt_plugin.commands import export as command
from mmt_plugin.inference import FORMATS, ExportError, FeatureExtractor, export
from mmt_plugin.inference.clients import CLIENTS
from mmt_plugin.inference.exports import HALF_TOLERANCE
from mmt_plugin.inference.pixels import PIXELS, convert_pixels

onnxruntime = pytest.importorskip("onnxruntime")

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BACKENDS = {
    "onnx": ("onnx_backend", "ONNXBackend"),
    "torchscript": ("torchscript_backend", "TorchscriptBackend"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Exports of one run, made once each."""
    return {"folder": tmp_path_factory.mktemp("exports")}


@pytest.fixture
def run(make_run, crops, shared):
    """A function: options of `export` -> the export's folder."""
    if "run" not in shared:
        size = list(Image.open(crops[0]).size[::-1])  # of the files: no program has to resize them
        shared["run"] = make_run(
            OUTPUT_DIR=str(shared["folder"] / "run"), INPUT__SIZE_TEST=size, INPUT__SIZE_TRAIN=size
        )[1]
        shared["expected"] = FeatureExtractor(shared["run"])(crops)

    def make(format="onnx", **options):
        folder = shared["folder"] / "_".join([format, *(f"{key}-{value}" for key, value in options.items())])
        if not folder.exists():
            export(shared["run"], format, folder, crops[:2], **options)
        return folder

    return make


def pictures(crops) -> np.ndarray:
    """The crops as B x H x W x 3 uint8 in OpenCV's channel order."""
    return np.stack([np.asarray(Image.open(path).convert("RGB"))[..., ::-1] for path in crops])


def feed(path: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": pixels.astype(np.float32)})[0]


def as_boxmot(bgr: np.ndarray) -> np.ndarray:
    """boxmot 25.0.0, reid/core/crops.py: RGB, 0-1, ImageNet's mean and deviation."""
    return ((bgr[..., ::-1] / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


def as_ultralytics(bgr: np.ndarray) -> np.ndarray:
    """ultralytics 8.4.190, trackers/utils/reid.py: RGB, 0-1."""
    return (bgr[..., ::-1] / 255).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("client", "preprocess"), [("boxmot", as_boxmot), ("ultralytics", as_ultralytics)])
def test_a_client_gets_the_features_of_the_extractor(run, shared, crops, client, preprocess):
    folder, expected = run(client=client), shared["expected"].numpy()
    np.testing.assert_allclose(feed(folder / "model.onnx", preprocess(pictures(crops))), expected, atol=2e-5)
    # The same pixels in a program for 0-255: nothing fails, and the features are others.
    wrong = feed(run(normalized=True) / "model.onnx", preprocess(pictures(crops)))
    assert np.abs(wrong - expected).max() > 0.02


def test_the_extractor_reads_every_export_alike(run, shared, crops):
    run()
    for format, options in (
        ("onnx", {"client": "boxmot"}),
        ("onnx", {"client": "ultralytics"}),
        ("torchscript", {"client": "boxmot"}),
        ("torchscript", {"pixels": "unit"}),
    ):
        found = FeatureExtractor(run(format, **options))(crops)
        torch.testing.assert_close(found, shared["expected"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_are_those_of_a_loop(kind):
    raw = torch.randint(0, 256, (2, 3, 4, 5)).float()
    expected = raw.clone()
    for index in np.ndindex(raw.shape):
        value = float(raw[index])
        if kind == "unit":
            value /= 255
        elif kind == "imagenet":
            value = (value / 255 - MEAN[index[1]]) / STD[index[1]]
        expected[index] = value
    torch.testing.assert_close(convert_pixels(raw, kind), expected)


@pytest.mark.parametrize("client", ["deepsort", "norfair"])
def test_trackers_that_take_features_get_a_module_that_makes_them(run, shared, crops, client):
    path = run(client=client) / "embedder.py"
    specification = importlib.util.spec_from_file_location("embedder", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    embed = module.Embedder(providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(embed(list(pictures(crops))), shared["expected"].numpy(), atol=2e-5)
    assert embed([]).shape == (0, shared["expected"].shape[1])
    rgb = module.Embedder(bgr=False, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        rgb([image[..., ::-1] for image in pictures(crops)[:2]]), shared["expected"][:2].numpy(), atol=2e-5
    )
    lines = path.read_text().splitlines()
    assert not any(
        line.startswith(("import mmt_plugin", "from mmt_plugin", "import torch")) for line in lines
    )


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_batches_of_any_size_and_images_of_one(run, format):
    folder = run(format, client="boxmot")
    height, width = FeatureExtractor(folder)._size
    if format == "onnx":
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

        def call(images):
            return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    else:
        call = torch.jit.load(folder / "model.torchscript")
    for batch in (0, 1, 5):
        features = call(torch.zeros(batch, 3, height, width))
        assert features.shape[0] == batch
        assert features.shape[1] > 1
    for size in ((height, width + 8), (2 * height, 2 * width), (width, height)):
        with pytest.raises(Exception, match=r"[Gg]ot invalid dimensions|INVALID_ARGUMENT|resize the crops"):
            call(torch.zeros(1, 3, *size))


def test_a_program_says_what_it_takes(run):
    onnx = pytest.importorskip("onnx")
    folder = run(client="ultralytics")
    found = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    height, width = FeatureExtractor(folder)._size
    assert found["image_size"] == found["imgsz"] == f"[{height}, {width}]"
    assert (found["pixels"], found["channel_order"], found["l2_normalized"]) == ("unit", "RGB", "True")
    assert found["version"]
    extra, script = {"config.txt": ""}, run("torchscript", client="boxmot") / "model.torchscript"
    torch.jit.load(script, _extra_files=extra)
    description = json.loads(extra["config.txt"])
    assert (description["pixels"], description["imgsz"]) == ("imagenet", [height, width])
    assert description["embedding_size"] == int(found["embedding_size"])
    beside = json.loads(script.with_name("model.torchscript.metadata.json").read_text())
    assert beside["model_kwargs"]["img_size"] == [height, width]


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_half_precision_takes_and_gives_half(run, shared, crops, format):
    folder = run(format, half=True, normalized=True)
    found = FeatureExtractor(folder)(crops)
    assert (found - shared["expected"]).abs().max() < HALF_TOLERANCE
    assert (found * shared["expected"]).sum(dim=1).min() > 0.999
    if format == "onnx":
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float16)"
    else:
        assert {p.dtype for p in torch.jit.load(folder / "model.torchscript").parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("safetensors", {"pixels": "unit"}, "holds weights, not a program"),
        ("fastreid", {"half": True}, "holds weights, not a program"),
        ("torchscript", {"client": "ultralytics"}, "does not read torchscript; choose onnx"),
        ("onnx", {"client": "strongsort"}, "choose one of boxmot, ultralytics"),
        ("onnx", {"pixels": "bgr"}, "choose one of raw, unit, imagenet"),
    ],
)
def test_what_does_not_go_together_is_refused(run, shared, tmp_path, format, options, message):
    with pytest.raises(ExportError, match=message):
        export(shared["run"], format, tmp_path / "export", **options)


def test_the_command_offers_what_there_is():
    assert set(command.CLIENTS) == set(CLIENTS)
    assert set(command.PIXELS) == set(PIXELS)
    assert set(command.FORMATS) == set(FORMATS)


@pytest.mark.parametrize("format", BACKENDS)
def test_inside_boxmot(run, shared, crops, format):
    """Crops as boxes of one wide frame, through BoxMOT's own backend."""
    pytest.importorskip("boxmot")
    module, name = BACKENDS[format]
    backend = getattr(importlib.import_module(f"boxmot.reid.backends.{module}"), name)
    model = backend(run(format, client="boxmot") / f"model.{format}", torch.device("cpu"), half=False)
    images = pictures(crops)
    height, width = images.shape[1:3]
    boxes = np.array([[width * at, 0, width * (at + 1), height] for at in range(len(images))], float)
    found = model.get_features(boxes, np.concatenate(list(images), axis=1))
    np.testing.assert_allclose(found, shared["expected"].numpy(), atol=1e-4)


def test_inside_ultralytics(run, shared, crops):
    pytest.importorskip("ultralytics")
    reid = importlib.import_module("ultralytics.trackers.utils.reid").ReID
    model = reid(str(run(client="ultralytics") / "model.onnx"), device="cpu")
    assert model.imgsz == tuple(FeatureExtractor(run(client="ultralytics"))._size)
    with torch.no_grad():
        found = model.model(model._crops_to_tensor(list(pictures(crops))))
    torch.testing.assert_close(
        F.normalize(torch.as_tensor(np.asarray(found))), shared["expected"], atol=1e-4, rtol=0
    )
