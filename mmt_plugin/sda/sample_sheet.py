"""A sheet of translations to look at. Shapes: B images, 3 x H x W each."""

from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from mmt_plugin.data.build import test_images
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.unreadable import collate, unreadable_rows

from .cycle_gan import TO_SOURCE, TO_TARGET, StructuredDomainAdaptation

ROWS = ("source", "translated", "reconstructed", "target")
GAP = 4
HEADER = 14


def sample_images(cfg: CfgNode, items: Sequence[Item], count: int) -> Tensor:
    """Evenly spaced images of a set under the test transform, at the training size: B x 3 x H x W in 0-255.

    Unreadable ones are left out where DATALOADER.ON_BAD_IMAGE is "skip".
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.SIZE_TEST = cfg.INPUT.SIZE_TRAIN
    images = test_images(cfg, items)
    chosen = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long().tolist()
    samples = collate([images[i] for i in chosen])
    return samples[~unreadable_rows(samples)]


@torch.no_grad()
def draw_sheet(model: StructuredDomainAdaptation, source: Tensor, target: Tensor) -> Image.Image:
    """Four rows: source images, the same in the target's style and back again, and target images to compare.

    Args:
        model: whose generators translate.
        source, target: B x 3 x H x W in 0-255, of any B.
    """
    translated = model.apply_generator(TO_TARGET, model.normalize(source))
    reconstructed = model.apply_generator(TO_SOURCE, translated)
    rows = (source, model.pixels(translated), model.pixels(reconstructed), target)
    height, width = source.shape[-2:]
    columns = max(len(source), len(target))
    size = (GAP + columns * (width + GAP), len(ROWS) * (HEADER + height + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(zip(ROWS, rows, strict=True)):
        top = row * (HEADER + height + GAP)
        draw.text((GAP, top + 1), name, fill="black")
        for column, image in enumerate(to_bytes(images)):
            sheet.paste(to_pil_image(image), (GAP + column * (width + GAP), top + HEADER))
    return sheet


def to_bytes(pixels: Tensor) -> Tensor:
    """Images in 0-255, rounded to 8 bits, on the CPU."""
    return pixels.round().clamp(0, 255).byte().cpu()
