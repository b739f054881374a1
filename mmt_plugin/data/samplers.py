"""Batch samplers with a fixed number of batches an epoch. Shapes: P identities, K instances, N images.

All yield lists of (image index, augmentation seed). What they yield is a function of (seed, epoch) only and
equal on all ranks up to each rank's share, so epochs can be replayed and domains interleaved freely.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from mmt_plugin.errors import DataError

Batch = list[tuple[int, int]]


class EpochBatchSampler(Sampler):
    """Base: a number of batches per epoch, drawn from a private generator."""

    def __init__(self, batch_size: int, num_batches: int, seed: int, rank: int = 0, world_size: int = 1):
        """
        Args:
            batch_size: images of one batch over all ranks.
            num_batches: batches of one epoch.
            seed: of the private generator.
            rank: whose share of each batch is yielded.
            world_size: number of ranks; must divide the batch.

        Raises:
            ValueError: if the batch cannot be shared evenly.
        """
        if batch_size % world_size:
            raise ValueError(f"a batch of {batch_size} images cannot be shared by {world_size} processes")
        self.batch_size, self.num_batches, self.seed = batch_size, num_batches, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Draw the batches of an epoch, all but the first `start`, which have been trained on."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        share = self.batch_size // self.world_size
        batches = self.index_batches(rng)
        for i in range(self.num_batches):
            indices = next(batches)
            seeds = rng.integers(2**62, size=self.batch_size)
            mine = slice(self.rank * share, (self.rank + 1) * share)
            if i >= self.start:
                yield list(zip(indices[mine].tolist(), seeds[mine].tolist(), strict=True))

    def index_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Endless batches of image indices."""
        raise NotImplementedError


class ShuffledBatchSampler(EpochBatchSampler):
    """Uniform batches: passes over all N images in random order, one after the other."""

    def __init__(self, num_images: int, batch_size: int, num_batches: int, seed: int, **ranks: int):
        super().__init__(batch_size, num_batches, seed, **ranks)
        self.num_images = num_images

    def set_labels(self, labels: Sequence[int]) -> None:
        """Labels have no influence on uniform batches, which hold every image.

        Raises:
            ValueError: if labels are missing, or -1 asks for images to be left out.
        """
        if len(labels) != self.num_images or min(labels) < 0:
            raise ValueError(f"uniform batches need a label for each of the {self.num_images} images")

    def index_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        pool = np.empty(0, dtype=np.int64)
        while True:
            while len(pool) < self.batch_size:
                pool = np.concatenate([pool, rng.permutation(self.num_images)])
            batch, pool = np.split(pool, [self.batch_size])
            yield batch


class IdentityBatchSampler(EpochBatchSampler):
    """P x K batches in the way of MMT's random multiple gallery sampler, for labels that change between
    epochs.

    Identities come in passes of random order. Of each, one random image is drawn, then K - 1 more, from other
    cameras where the identity has any. Unlike the published sampler a batch always holds whole groups of K:
    an identity with fewer images repeats some, so that the groups never shift. With fewer than P identities,
    identities repeat within the batch.
    """

    def __init__(
        self,
        cameras: Sequence[int],
        batch_size: int,
        num_instances: int,
        num_batches: int,
        seed: int,
        **ranks: int,
    ):
        """
        Args:
            cameras: N camera indices.
            batch_size: P x K.
            num_instances: K.
            num_batches: batches of one epoch.
            seed: of the private generator.
            ranks: see EpochBatchSampler.

        Raises:
            ValueError: if K does not divide each rank's share of the batch.
        """
        super().__init__(batch_size, num_batches, seed, **ranks)
        if (batch_size // self.world_size) % num_instances:
            raise ValueError(
                f"each process's share of the batch, {batch_size // self.world_size} images "
                f"(SOLVER.IMS_PER_BATCH {batch_size} / "
                f"{self.world_size} processes), is not a multiple of DATALOADER.NUM_INSTANCE {num_instances}"
            )
        self.cameras = np.asarray(cameras)
        self.num_instances = num_instances
        self.members: list[np.ndarray] = []

    def set_labels(self, labels: Sequence[int]) -> None:
        """Draw from the given N labels from the next epoch on; -1 marks images that are left out.

        Raises:
            DataError: if fewer than two identities are left, so that no batch would hold a negative.
        """
        labels = np.asarray(labels)
        if len(labels) != len(self.cameras):
            raise ValueError(f"{len(labels)} labels for {len(self.cameras)} images")
        used = np.flatnonzero(labels >= 0)
        order = used[np.argsort(labels[used], kind="stable")]
        members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        if len(members) < 2:
            raise DataError(f"{len(members) if len(used) else 0} identities: training needs at least 2")
        self.members = members

    def index_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if not self.members:
            raise RuntimeError("set_labels must be called before batches are drawn")
        identities: deque[int] = deque()
        while True:
            while len(identities) < self.batch_size // self.num_instances:
                identities.extend(rng.permutation(len(self.members)).tolist())
            batch = [
                self._draw(identities.popleft(), rng) for _ in range(self.batch_size // self.num_instances)
            ]
            yield np.concatenate(batch)

    def _draw(self, identity: int, rng: np.random.Generator) -> np.ndarray:
        """K images of one identity, the first at random, the rest from other cameras if possible."""
        members = self.members[identity]
        first = rng.choice(members)
        candidates = members[self.cameras[members] != self.cameras[first]]
        if not len(candidates):
            candidates = members[members != first]
        if not len(candidates):
            candidates = members
        wanted = self.num_instances - 1
        return np.append(first, rng.choice(candidates, size=wanted, replace=len(candidates) < wanted))


class GroupBatchSampler(IdentityBatchSampler):
    """Group sampling (Han et al., IEEE TIP 2022, arXiv 2107.03024): passes over images, not over identities.

    The images of each identity are cut, in random order, into groups of K, and batches are made of all groups
    in random order: an identity comes as often as it has images, also twice in a batch. A last group that is
    not full is filled up with images of the same identity.
    """

    def index_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if not self.members:
            raise RuntimeError("set_labels must be called before batches are drawn")
        groups: deque[np.ndarray] = deque()
        needed = self.batch_size // self.num_instances
        while True:
            while len(groups) < needed:
                groups.extend(self._pass(rng))
            yield np.concatenate([groups.popleft() for _ in range(needed)])

    def _pass(self, rng: np.random.Generator) -> list[np.ndarray]:
        """All groups, each image in one of them at least."""
        groups: list[np.ndarray] = []
        for members in self.members:
            missing = -len(members) % self.num_instances
            more = rng.choice(members, size=missing, replace=missing > len(members))
            images = np.concatenate([rng.permutation(members), more])
            groups += np.split(images, len(images) // self.num_instances)
        return [groups[i] for i in rng.permutation(len(groups))]
