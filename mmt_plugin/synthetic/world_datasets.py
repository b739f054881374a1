"""The built-in world as fastreid datasets: ``SynthPlaza`` (daylight) and ``SynthMetro`` (artificial light).

They are rendered below the host's dataset root on first use; nothing is downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from .spec import WorldSpec, current_all_queries, current_may_render, current_num_workers, current_spec
from .store import domain_folder, ensure_domain
from .world import DISTRACTOR_PID, DOMAINS, GALLERY, JUNK_PID, QUERY, TRAIN, plan

Item = tuple[str, int | str, int | str]


class SyntheticDataset(ImageDataset):
    """One domain of the built-in world.

    Args:
        root: the host's dataset root (``FASTREID_DATASETS``); the pictures go to its ``synthetic`` folder.
        spec: size and seed; by default what :func:`~.spec.configure` set.
        kwargs: the host's own options.
    """

    _junk_pids = [DISTRACTOR_PID, JUNK_PID]
    domain_name: str

    def __init__(self, root: str = "datasets", spec: WorldSpec | None = None, **kwargs: object) -> None:
        self.spec, self.domain = spec or current_spec(), DOMAINS[self.domain_name]
        if current_may_render():
            folder = ensure_domain(root, self.domain, self.spec, current_num_workers())
        else:
            folder = domain_folder(root, self.domain, self.spec)
        self.dataset_dir = str(folder)
        query, gallery = self._read(QUERY), self._read(GALLERY)
        if current_all_queries():
            # The host never compares a query with images of the same person and camera, such as itself.
            gallery = query + gallery
            query = [item for item in gallery if item[1] != DISTRACTOR_PID]
        super().__init__(self._read(TRAIN, is_train=True), query, gallery, **kwargs)

    @property
    def dataset_name(self) -> str:
        """Prefix that keeps training ids apart from those of other datasets."""
        return self.domain_name.lower()

    def _read(self, folder: str, is_train: bool = False) -> list[Item]:
        """Lists a folder as the host does Market-1501: no junk, cameras from 0, training ids prefixed."""
        items: list[Item] = []
        for path in self._paths(folder):
            pid, camera = map(int, re.match(r"(-?\d+)_c(\d)", path.name).groups())
            if pid == JUNK_PID:
                continue
            camera -= 1
            if is_train:
                # Strangers are all different.
                name = path.stem if pid == DISTRACTOR_PID else pid
                items.append((str(path), f"{self.dataset_name}_{name}", f"{self.dataset_name}_{camera}"))
            else:
                items.append((str(path), pid, camera))
        return items

    def _paths(self, folder: str) -> list[Path]:
        if current_may_render():
            return sorted(Path(self.dataset_dir, folder).glob("*.jpg"))
        names = (shot.name for shot in plan(self.spec, self.domain) if shot.folder == folder)
        return [Path(self.dataset_dir, folder, name) for name in sorted(names)]


def is_built_in(name: str) -> bool:
    """Whether a data set of this name, or the one whose images it shows, is drawn where it is missing."""
    registered = DATASET_REGISTRY._obj_map.get(name, object)
    shown = DATASET_REGISTRY._obj_map.get(getattr(registered, "images_of", ""), registered)
    return issubclass(shown, SyntheticDataset)


@DATASET_REGISTRY.register()
class SynthPlaza(SyntheticDataset):
    """A square in daylight, people in summer clothes: the usual source domain."""

    domain_name = "SynthPlaza"


@DATASET_REGISTRY.register()
class SynthMetro(SyntheticDataset):
    """A station under artificial light, people in winter clothes: the usual target domain."""

    domain_name = "SynthMetro"
