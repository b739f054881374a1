"""A network as a program of its own: TorchScript or ONNX, with what it takes and gives written into it.

Shapes: B batch (any, 0 included), H x W image size (fixed), D feature size.
"""

import io
import json
import warnings
from pathlib import Path

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.version import __version__

from .inference_network import EXPORTED, PixelsToFeatures, import_optional
from .pixels import PIXELS, normalisation_of

# Stay in float32 in a float16 program: squares of features leave its range.
FLOAT32_OPERATORS = ("ReduceL2", "ReduceSum", "Pow", "Sqrt")


class OfFixedSize(nn.Module):
    """A traced network that refuses images of another size: tracing keeps none of its checks."""

    def __init__(self, network: torch.jit.ScriptModule, height: int, width: int):
        super().__init__()
        self.network, self.height, self.width = network, height, width

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4 or images.size(2) != self.height or images.size(3) != self.width:
            raise ValueError(
                f"expected images of B x 3 x {self.height} x {self.width}, not {images.size()}: "
                "resize the crops to the size that the model was exported for"
            )
        return self.network(images)


def write_torchscript(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    """Write ``model.torchscript``; its extra file ``config.txt`` holds the description as JSON."""
    program = _program(network, cfg)
    description = describe(cfg, _feature_size(program, cfg))
    example = _example(cfg)
    if cfg.EXPORT.HALF:
        program, example = program.half(), example.half()
    buffer = io.BytesIO()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the check on crops says whether it went well
        traced = torch.jit.trace(program, example, check_trace=False)
        checked = torch.jit.script(OfFixedSize(traced, *cfg.INPUT.SIZE_TEST).eval())
        torch.jit.save(checked, buffer, _extra_files={"config.txt": json.dumps(description)})
    _write(buffer.getvalue(), folder / EXPORTED["torchscript"])
    return inference_config(cfg)


def write_onnx(network: PixelsToFeatures, cfg: CfgNode, folder: Path) -> CfgNode:
    """Write ``model.onnx``; its ``metadata_props`` hold the description."""
    onnx = import_optional("onnx")
    import_optional("onnxruntime")
    program = _program(network, cfg)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            program,
            (_example(cfg),),
            buffer,
            dynamo=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    if cfg.EXPORT.HALF:
        model = _in_float16(model)
    onnx.helper.set_model_props(
        model, {key: str(value) for key, value in describe(cfg, _feature_size(program, cfg)).items()}
    )
    _write(model.SerializeToString(), folder / EXPORTED["onnx"])
    return inference_config(cfg)


def describe(cfg: CfgNode, feature_size: int) -> dict[str, object]:
    """What a program takes and gives, by names that other programs know where there are any.

    Args:
        cfg: of the run, with EXPORT.
        feature_size: D.
    """
    height, width = cfg.INPUT.SIZE_TEST
    return {
        "description": "re-identification features",
        "author": f"mmt_plugin {__version__}",
        "version": __version__,
        # Ultralytics' names.
        "task": "classify",
        "imgsz": [height, width],
        "channels": 3,
        "stride": 1,
        "batch": 1,
        "names": {0: "identity"},
        "pixels": cfg.EXPORT.PIXELS,
        "pixel_format": PIXELS[cfg.EXPORT.PIXELS],
        "channel_order": "RGB",
        "image_size": [height, width],
        "interpolation": "bicubic",
        "embedding_size": feature_size,
        "l2_normalized": bool(cfg.EXPORT.NORMALIZED),
        "precision": "float16" if cfg.EXPORT.HALF else "float32",
    }


def inference_config(cfg: CfgNode) -> CfgNode:
    """The run's configuration for a single network with ordinary BN, without anything to start from."""
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MMT.IMAGES_PER_BN = 0
    cfg.MMT.DSBN.ENABLED = False
    cfg.MMT.WEIGHTS = ()
    return cfg


def _program(network: PixelsToFeatures, cfg: CfgNode) -> PixelsToFeatures:
    """The network for pixels of EXPORT.PIXELS."""
    export = cfg.EXPORT
    mean, std = normalisation_of(
        export.PIXELS, network.pixel_mean.flatten().tolist(), network.pixel_std.flatten().tolist()
    )
    return PixelsToFeatures(network.network, mean, std, export.NORMALIZED)


def _in_float16(model):
    """By onnxruntime's own converter: weights, input and output."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    return convert_float_to_float16(
        model, keep_io_types=False, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT32_OPERATORS]
    )


@torch.inference_mode()
def _feature_size(program: PixelsToFeatures, cfg: CfgNode) -> int:
    return program(_example(cfg)).shape[1]


def _example(cfg: CfgNode) -> Tensor:
    """A batch of two, so that nothing takes its size for a constant 1."""
    return torch.zeros(2, 3, *cfg.INPUT.SIZE_TEST)


def _write(content: bytes, path: Path) -> None:
    with replace_when_complete(str(path), "wb") as file:
        file.write(content)
