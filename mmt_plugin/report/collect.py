"""Everything that a run's folder, and the data sets it names, tell about the run. Shapes: N images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from mmt_plugin import data
from mmt_plugin.data.dataset import Item, images_digest
from mmt_plugin.data.datasets.own import NamedNumber, is_own, unqualified
from mmt_plugin.data.items import build_dataset, dense_ids, training_items
from mmt_plugin.runs.run import Run, RunError
from mmt_plugin.runs.run_files import CONFIG, FINAL_MODEL
from mmt_plugin.weights.checkpoint_files import load_weights

from .label_record import FIRST, LAST, LabelRecord
from .ranking_record import RANKING, RankingRecord
from .records import FOLDER, load_record


class ReportedRun(Run):
    """One run, read from its folder with its records; what is not there is None, empty, or told in
    `missing_images`.
    """

    def __init__(self, folder: str | Path):
        """
        Args:
            folder: the run's OUTPUT_DIR.

        Raises:
            RunError: the folder holds no training.
            ConfigError: its configuration is not one of this version.
        """
        super().__init__(folder)
        if self.is_evaluation:
            raise RunError(f"{str(folder)!r} is no run: there is no {self.folder / CONFIG}")
        data.configure(self.cfg)  # names of data sets stand for those of this run from here
        self.missing_images = ""

    def is_own(self, source: Run) -> bool:
        """Whether the run pre-trained a source model itself."""
        return source.folder.parent == self.folder

    @property
    def is_clustered(self) -> bool:
        """Whether it makes its labels itself."""
        return self.cfg.PSEUDO_LABELS.METHOD != "ground_truth"

    @cached_property
    def first(self) -> LabelRecord | None:
        """The first label step, made with the source models' features."""
        return load_record(LabelRecord, self.folder / FOLDER / FIRST)

    @cached_property
    def last(self) -> LabelRecord | None:
        """The last label step; None where there was one only."""
        return load_record(LabelRecord, self.folder / FOLDER / LAST)

    @cached_property
    def ranking(self) -> RankingRecord | None:
        return load_record(RankingRecord, self.folder / FOLDER / RANKING)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """N labels in use in the last epoch: as recorded for the report, else as the checkpoint has them."""
        record = self.last or self.first
        if record is not None:
            return record.labels
        path = self.folder / FINAL_MODEL
        if not self.is_clustered or not path.exists():
            return None
        # Mapped into memory: only the labels are read, not the weights.
        labels = load_weights(str(path), mmap=True).get("PseudoLabelHook", {}).get("labels")
        return None if labels is None else labels["labels"].numpy()

    @cached_property
    def items(self) -> list[Item]:
        """The N training images, as the run had them; empty where they are not here (any more)."""
        names = self.cfg.DATASETS.TARGETS if self.is_clustered else self.cfg.DATASETS.NAMES
        record = self.last or self.first
        try:
            items = training_items(names, self.cfg.DATASETS.COMBINEALL)
        except Exception as error:  # whatever a data set raises: the page is made without pictures
            self.missing_images = f"The images of {', '.join(names)} are not here: {error}"
            return []
        expected = images_digest(items) if record is None else record.images
        if images_digest(items) != expected or (self.labels is not None and len(items) != len(self.labels)):
            self.missing_images = (
                f"The images of {', '.join(names)} that are here are not those of the run: {len(items)} "
                "images, or other names"
            )
            return []
        return items

    @cached_property
    def test_items(self) -> tuple[list[Item], list[Item]]:
        """Query and gallery of the ranked lists; empty where they are not here."""
        try:
            dataset = build_dataset(self.ranking.dataset)
        except Exception:  # as above
            return [], []
        if images_digest([*dataset.query, *dataset.gallery]) != self.ranking.images:
            return [], []
        return dataset.query, dataset.gallery

    @cached_property
    def truth(self) -> np.ndarray | None:
        """N identities, for comparisons only; None where the images carry none."""
        return _if_several([item[1] for item in self.items])

    @cached_property
    def cameras(self) -> np.ndarray | None:
        """N camera names; None where there is one only, or none."""
        names = np.array([camera_name(item[2]) for item in self.items])
        return None if _if_several(names) is None else names


def camera_name(camera: int | str) -> str:
    """How the page calls a camera of a data set: own names as they were given, the host's numbers from 1."""
    text = str(camera)
    if isinstance(camera, NamedNumber) or is_own(text):
        name = identity_name(camera)
        return f"camera {name}" if name.isdigit() else name
    prefix, _, number = text.rpartition("_")
    if number.isdigit() and (prefix or text == number):
        return f"camera {int(number) + 1}"
    return text


def identity_name(identity: int | str) -> str:
    """An identity as the user wrote it."""
    text = str(identity)
    return text if isinstance(identity, NamedNumber) or not is_own(text) else unqualified(text)


def _if_several(values: list) -> np.ndarray | None:
    numbers = dense_ids(values) if len(values) else np.zeros(1)
    return numbers if numbers.max() > 0 else None
