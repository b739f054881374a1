"""Decoded and resized pictures in one file that all processes map into their memory.

Each set of files, in each size, has a folder of its own below DATALOADER.CACHE:

    pictures.npy  N x H x W x 3 bytes
    rows.npy      N bytes: which pictures are there
    about.json    what they were made of

Shapes: N images, H height, W width.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision.transforms as T
from numpy.lib.format import write_array_header_1_0
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmt_plugin.system.files import replace_when_complete, reserve
from mmt_plugin.system.json_files import read_json
from mmt_plugin.system.signals import leave_signals_to_the_main_process

from .dataset import DatasetError, ImageFiles
from .processes import only_writer

logger = logging.getLogger("fastreid.mmt.data")

PICTURES, ROWS, ABOUT = "pictures.npy", "rows.npy", "about.json"
# What rows.npy says of a picture.
MISSING, THERE, UNREADABLE = 0, 1, 2
READ_AT_ONCE = 64
# Batches after which rows are marked as there, when their pixels have reached the disk.
BATCHES_TO_SYNC = 16


class CachedFiles(ImageFiles):
    """Pictures as `ImageFiles` gives them, pixel by pixel, read and resized only once, by :meth:`fill`.

    Files that could not be read then are looked for again whenever they are asked for.
    """

    def __init__(self, files: ImageFiles, folder: str | os.PathLike):
        """
        Args:
            files: N images, with a resize to one size.
            folder: holds the caches of all sets.
        """
        super().__init__(files.paths, files.resize, files.skip_unreadable)
        self.files = files
        height, width = files.resize.size
        self.shape = (len(files), height, width, 3)
        names = hashlib.sha256("\n".join(map(os.path.abspath, files.paths)).encode()).hexdigest()[:12]
        self.folder = Path(folder) / f"{names}_{height}x{width}"
        self._opened: tuple[np.ndarray, np.ndarray] | None = None

    def __getitem__(self, index: int) -> Image.Image | None:
        pictures, rows = self._open()
        if rows[index] == THERE:
            return Image.fromarray(pictures[index])
        return self.files[index]

    def __getstate__(self) -> dict:
        # A mapped file would be pickled as its content.
        return {**self.__dict__, "_opened": None}

    def is_complete(self) -> bool:
        """Whether every picture has been read.

        Raises:
            DatasetError: the folder holds pictures of other files.
        """
        if not (self.folder / ABOUT).exists():
            return False
        self._check()
        return bool((self._map(ROWS) != MISSING).all())

    def fill(self, workers: int) -> None:
        """Read all pictures that are not there yet. Of several processes one does, the others wait; what a
        killed one has read is not read again.

        Args:
            workers: processes that read; 0: this one.

        Raises:
            DatasetError: the disk has no room, or the folder holds pictures of other files.
            UnreadableImageError: a file cannot be read, and may not be skipped.
        """
        if self.is_complete():  # nothing is written then, not even a lock: the disk may be read-only
            return
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with only_writer(self.folder):
                if not (self.folder / ABOUT).exists():
                    self._create()
                if not self.is_complete():
                    self._read_missing(workers)
        except OSError as error:
            raise self._unwritable(error) from error

    def _read_missing(self, workers: int) -> None:
        pictures, rows = self._map(PICTURES, "r+"), self._map(ROWS, "r+")
        missing = np.flatnonzero(rows == MISSING)
        loader = DataLoader(
            _Rows(self.files, missing.tolist(), self.shape[1:]),
            batch_size=READ_AT_ONCE,
            num_workers=workers,
            worker_init_fn=leave_signals_to_the_main_process,
        )
        found = np.empty(len(missing), dtype=rows.dtype)
        done = synced = 0
        with tqdm(total=len(missing), desc="caching images", unit="img", disable=None) as bar:
            for number, (pixels, states) in enumerate(loader, start=1):
                batch = slice(done, done + len(states))
                pictures[missing[batch]], found[batch] = pixels.numpy(), states.numpy()
                done += len(states)
                bar.update(len(states))
                if number % BATCHES_TO_SYNC == 0 or done == len(missing):
                    pictures.flush()
                    rows[missing[synced:done]] = found[synced:done]
                    rows.flush()
                    synced = done
        logger.info(f"{self.folder}: {len(missing)} images of {len(rows)} cached")

    def _create(self) -> None:
        """Files of the full size, with room on the disk for every byte: a mapped file that meets a full disk
        later would kill the process.
        """
        shutil.rmtree(self.folder, ignore_errors=True)  # of a process that was killed here
        try:
            self.folder.mkdir()
            with open(self.folder / PICTURES, "wb") as file:
                write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
                reserve(file, self.num_bytes)
            np.save(self.folder / ROWS, np.full(len(self), MISSING, dtype=np.uint8))
            with replace_when_complete(str(self.folder / ABOUT), "w") as file:
                json.dump(self._description(), file, indent=1)
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _check(self) -> None:
        try:
            found = read_json(self.folder / ABOUT)
        except ValueError:
            found = None
        wanted = self._description()
        if not isinstance(found, dict):
            raise self._refusal(f"{ABOUT} is not valid JSON")
        different = [key for key, value in wanted.items() if found.get(key) != value]
        if different:
            raise self._refusal(
                ", ".join(f"{key} was {found.get(key)!r} and is {wanted[key]!r}" for key in different)
            )
        for name, shape in ((PICTURES, self.shape), (ROWS, self.shape[:1])):
            try:
                is_whole = self._map(name).shape == shape
            except (OSError, ValueError):
                is_whole = False
            if not is_whole:
                raise self._refusal(f"{name} is missing or damaged")

    def _refusal(self, reason: str) -> DatasetError:
        return DatasetError(
            f"{self.folder} does not hold these images as they are now ({reason}): delete that folder, or "
            "name another one in DATALOADER.CACHE"
        )

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"{self.folder} cannot be written ({error.strerror or error}): {len(self)} images of "
            f"{self.shape[1]} x {self.shape[2]} take {self.num_bytes:,} bytes. Make room, name another "
            "folder in DATALOADER.CACHE, or leave it empty"
        )

    @property
    def num_bytes(self) -> int:
        """What all pictures take."""
        return math.prod(self.shape)

    def _description(self) -> dict[str, object]:
        """What the pixels depend on. A file that has been changed has another time, or size, than before."""
        return {
            "images": len(self),
            "files": _digest(self.paths),
            "size": list(self.shape[1:3]),
            "interpolation": self.resize.interpolation.value,
            "Pillow": PIL.__version__,
        }

    def _open(self) -> tuple[np.ndarray, np.ndarray]:
        """Pictures and rows, opened once in each process."""
        if self._opened is None:
            self._opened = self._map(PICTURES), np.array(self._map(ROWS))
        return self._opened

    def _map(self, name: str, mode: str = "r") -> np.ndarray:
        return np.load(self.folder / name, mmap_mode=mode)


class _Rows(Dataset):
    """Pixels, H x W x 3 bytes, of some of the pictures, and whether they are there."""

    def __init__(self, files: ImageFiles, indices: Sequence[int], shape: tuple[int, ...]):
        self.files, self.indices, self.shape = files, indices, shape

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        picture = self.files[self.indices[row]]
        if picture is None:
            return torch.zeros(self.shape, dtype=torch.uint8), UNREADABLE
        return torch.from_numpy(np.array(picture)), THERE


def is_cachable(resize: Callable | None) -> bool:
    """Whether a resize gives pictures of one size."""
    return isinstance(resize, T.Resize) and isinstance(resize.size, Sequence) and len(resize.size) == 2


def _digest(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = os.stat(path)
            digest.update(f"{state.st_size} {state.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"missing\n")
    return digest.hexdigest()[:12]
