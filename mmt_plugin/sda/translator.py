"""Writing a translated source set: one file an image, whole or not at all. Shapes: B batch."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.datasets.translated import split_folder
from mmt_plugin.runs.lock import locked
from mmt_plugin.system.files import remove_unfinished, replace_when_complete
from mmt_plugin.system.json_files import read_json
from mmt_plugin.weights.load_network import CheckpointError, load_file, match_keys

from .cycle_gan import TO_TARGET, build_generator
from .sample_sheet import to_bytes

logger = logging.getLogger("fastreid.mmt.sda")

# Says what wrote a folder, so that two generators' images never mix.
MARKER = "translation.json"
PREFIX = f"generators.{TO_TARGET}."


class Translator(torch.nn.Module):
    """The generator of a checkpoint, from images to images."""

    def __init__(self, cfg: CfgNode, path: str):
        """
        Args:
            cfg: of the run, for SDA.GENERATOR and pixel statistics.
            path: of its checkpoint.

        Raises:
            CheckpointError: it is not of a StructuredDomainAdaptation run, or of another generator.
        """
        super().__init__()
        self.generator = build_generator(cfg)
        weights = load_file(path).get("model", {})
        given = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
        if not given:
            raise CheckpointError(
                f"checkpoint {path!r} holds no generator: no key of its model starts with {PREFIX!r}"
            )
        match_keys(path, self.generator.state_dict(), given, "SDA.GENERATOR")
        self.generator.load_state_dict(given)
        self.digest = _digest(given)
        self.register_buffer("mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(cfg.MODEL.PIXEL_STD).view(1, -1, 1, 1))
        self.to(cfg.MODEL.DEVICE)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """B x 3 x H x W in 0-255, of any size -> the same in the target's style, 8 bits, on the CPU."""
        images = images.to(self.mean.device)
        return to_bytes(255 * self.generator((images - self.mean) / self.std))


def translate(
    cfg: CfgNode,
    translator: Translator,
    items: Sequence[Item],
    folder: Path,
    quality: int = 95,
    overwrite: bool = False,
) -> int:
    """Write the translations that are not there yet, under the source's file names.

    Args:
        cfg: whose INPUT.SIZE_TEST is the size of the written images.
        translator: what to do to them.
        items: the source's images.
        folder: where to, ``<folder>/<split>``; the structure below is the source's.
        quality: of JPEG files.
        overwrite: whether to delete what is there first.

    Returns:
        The number of images written.

    Raises:
        CheckpointError: the folder holds images of another generator, or of unknown origin.
        UnreadableImageError: a source image cannot be read.
    """
    source = split_folder(items)
    targets = [folder / Path(path).relative_to(source) for path, *_ in items]
    for parent in {target.parent for target in targets}:
        parent.mkdir(parents=True, exist_ok=True)
    with locked(str(folder.parent)):
        if overwrite:
            for target in targets:
                target.unlink(missing_ok=True)
        left = [i for i, target in enumerate(targets) if not target.is_file()]
        _mark(folder.parent, _description(cfg, translator, quality), is_empty=len(left) == len(items))
        for parent in {target.parent for target in targets}:
            remove_unfinished(parent)
        names = iter([targets[i] for i in left])
        there = len(items) - len(left)
        with tqdm(total=len(items), initial=there, desc="translating", unit="img", disable=None) as bar:
            for images in build_extraction_loader(_strict(cfg), [items[i] for i in left]) if left else ():
                for image in translator(images):
                    _write(next(names), image, quality)
                    bar.update()
    logger.info(f"{folder}: {len(left)} images written, {there} were there")
    return len(left)


def _write(path: Path, image: Tensor, quality: int) -> None:
    """In the format that the name says; `quality` is for JPEG."""
    with replace_when_complete(str(path), "wb") as file:
        to_pil_image(image).save(file, Image.registered_extensions()[path.suffix.lower()], quality=quality)


def _mark(folder: Path, description: dict, is_empty: bool) -> None:
    """Note what writes into a folder, or check that it is what wrote there before."""
    marker = folder / MARKER
    if is_empty:
        with replace_when_complete(str(marker), "w") as file:
            json.dump(description, file, indent=1)
        return
    found = read_json(marker) if marker.exists() else None
    if found != description:
        raise CheckpointError(
            f"{folder} holds images of {'unknown origin' if found is None else 'another translation'} "
            f"({MARKER} says {found}, this is {description}): choose another --output, or --overwrite them"
        )


def _description(cfg: CfgNode, translator: Translator, quality: int) -> dict:
    return {"generator": translator.digest, "size": list(cfg.INPUT.SIZE_TEST), "quality": quality}


def _strict(cfg: CfgNode) -> CfgNode:
    """A source image that cannot be read has no translation: always an error."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.ON_BAD_IMAGE = "error"
    return cfg


def _digest(weights: dict[str, Tensor]) -> str:
    """A short hash of a generator's weights."""
    content = hashlib.sha256()
    for name in sorted(weights):
        content.update(name.encode())
        content.update(weights[name].cpu().numpy().tobytes())
    return content.hexdigest()[:12]
