"""A contact sheet of the built-in world: a row a person, a column a camera, domains side by side."""

from __future__ import annotations

import os

from PIL import Image

from .render import render
from .spec import WorldSpec
from .world import DOMAINS, TRAIN, Kind, Shot, person_ids


def contact_sheet(
    path: str | os.PathLike[str],
    spec: WorldSpec | None = None,
    rows: int = 6,
    gap: int = 4,
    quality: int = 88,
) -> Image.Image:
    """Draws the first ``rows`` training people of each domain under every camera and saves the sheet as JPEG.

    Args:
        path: where the sheet is written.
        spec: the world; the standard one by default.
        rows: people of each domain.
        gap: pixels between two pictures; the domains are four times as far apart.
        quality: of the JPEG file.

    Returns:
        The sheet.
    """
    spec = spec or WorldSpec()
    height, width = spec.image_size
    block = spec.cameras * (width + gap) - gap
    size = (len(DOMAINS) * (block + 4 * gap) - 2 * gap, rows * (height + gap) + gap)
    sheet = Image.new("RGB", size, (255, 255, 255))
    for column, domain in enumerate(DOMAINS.values()):
        for row, person in enumerate(person_ids(spec, domain)[0][:rows]):
            for camera in range(1, spec.cameras + 1):
                shot = Shot(TRAIN, Kind.PERSON, person, camera, frame=row + 1, step=0)
                x = gap + column * (block + 4 * gap) + (camera - 1) * (width + gap)
                sheet.paste(render(spec, domain, shot), (x, gap + row * (height + gap)))
    sheet.save(path, "JPEG", quality=quality, optimize=True)
    return sheet
