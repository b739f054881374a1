"""Training samplers: a private generator each, and an error where the host would search for a batch for ever.

P identities and K images of each make one rank's batch. All ranks draw the same stream of global batches from
the shared seed; each keeps its own share.
"""

import inspect
from collections.abc import Iterator
from functools import wraps

import numpy as np
import torch
from fastreid.data.samplers import data_sampler, imbalance_sampler, triplet_sampler
from fastreid.data.samplers.triplet_sampler import reorder_index

from . import parts
from .patching import replace


def refuse_impossible_batches() -> None:
    """Without it an identity sampler that can never fill a batch spins at 100 % CPU: too few identities, an
    empty set, or a batch that is no multiple of K.
    """
    # Balanced draws a global batch without repeating an identity, naive only a rank's share of it.
    for sampler, needed in (
        (triplet_sampler.BalancedIdentitySampler, lambda self: self.num_pids_per_batch * self._world_size),
        (triplet_sampler.NaiveIdentitySampler, lambda self: self.num_pids_per_batch),
    ):
        replace(sampler, "__init__", _with_identity_check(needed))
    replace(data_sampler.TrainingSampler, "__init__", _with_size_check)
    replace(imbalance_sampler.ImbalancedDatasetSampler, "__init__", _with_size_check)


def _with_identity_check(identities_needed):
    def make(init):
        @wraps(init)
        def initialise(self, data_source, mini_batch_size, num_instances, seed=None):
            sampler = type(self).__name__
            if num_instances < 1 or mini_batch_size < num_instances or mini_batch_size % num_instances:
                raise parts.given.DataError(
                    f"{sampler} cannot make batches of {mini_batch_size} images (SOLVER.IMS_PER_BATCH "
                    f"divided by the number of processes) with {num_instances} of each identity "
                    "(DATALOADER.NUM_INSTANCE): make the first a multiple of the second"
                )
            init(self, data_source, mini_batch_size, num_instances, seed)
            needed = identities_needed(self)
            if self.num_identities < needed:
                raise parts.given.DataError(
                    f"{sampler} needs {needed} identities for a batch ({mini_batch_size} images per process, "
                    f"{num_instances} of each identity, {self._world_size} processes), the training set has "
                    f"{self.num_identities}: lower SOLVER.IMS_PER_BATCH or raise DATALOADER.NUM_INSTANCE"
                )

        return initialise

    return make


def _with_size_check(init):
    @wraps(init)
    def initialise(self, *args, **kwargs):
        arguments = inspect.signature(init).bind(self, *args, **kwargs).arguments
        if not arguments.get("data_source", arguments.get("size")):
            sampler = type(self).__name__
            raise parts.given.DataError(
                f"{sampler}: the training set is empty; check DATASETS.NAMES and FASTREID_DATASETS"
            )
        init(self, *args, **kwargs)

    return initialise


def draw_from_private_generators() -> None:
    """Without it samplers seed numpy's global generator: they overwrite the caller's seed, change whenever
    anything else draws, and two loaders interleaved differently give ranks the same images.
    `ImbalancedDatasetSampler` is not seeded at all.
    """
    for sampler, indices in (
        (data_sampler.TrainingSampler, _shuffled_indices),
        (triplet_sampler.BalancedIdentitySampler, _balanced_indices),
        (triplet_sampler.NaiveIdentitySampler, _naive_indices),
        (imbalance_sampler.ImbalancedDatasetSampler, _reweighted_indices),
    ):
        replace(sampler, "_infinite_indices", lambda _, indices=indices: indices)


def _shuffled_indices(self) -> Iterator[int]:
    """Every image once, in random order, over and over."""
    generator = np.random.default_rng(self._seed)
    while True:
        yield from (generator.permutation(self._size) if self._shuffle else np.arange(self._size)).tolist()


def _balanced_indices(self) -> Iterator[int]:
    """Every identity once per round, those that do not fill a last global batch left out of it."""
    generator = np.random.default_rng(self._seed)
    identities_per_batch = self.num_pids_per_batch * self._world_size
    while True:
        order = generator.permutation(self.num_identities)
        for start in range(0, self.num_identities - identities_per_batch + 1, identities_per_batch):
            batch = []
            for identity in order[start : start + identities_per_batch]:
                batch += _anchor_and_others(self, self.pids[identity], generator)
            yield from reorder_index(batch, self._world_size)


def _anchor_and_others(self, pid, generator: np.random.Generator) -> list[int]:
    """K images of one identity: a random one, and others, from other cameras where there are any."""
    images = self.pid_index[pid]
    anchor = int(generator.integers(len(images)))
    cameras = self.pid_cam[pid]
    others = [i for i, camera in zip(images, cameras, strict=True) if camera != cameras[anchor]]
    others = others or images[:anchor] + images[anchor + 1 :] or images
    repeat = len(others) < self.num_instances
    return [images[anchor], *generator.choice(others, self.num_instances - 1, replace=repeat).tolist()]


def _naive_indices(self) -> Iterator[int]:
    """P random identities at a time, K images each, until fewer than P have K unused images left; then all
    anew.
    """
    generator = np.random.default_rng(self._seed)
    p, k = self.num_pids_per_batch, self.num_instances
    batch = []
    while True:
        unused = {}
        for pid in self.pids:
            images = self.pid_index[pid]
            unused[pid] = generator.permutation(
                images if len(images) >= k else generator.choice(images, k)
            ).tolist()
        while len(unused) >= p:
            pids = list(unused)
            for i in generator.choice(len(pids), p, replace=False):
                images = unused[pids[i]]
                batch += images[:k]
                del images[:k]
                if len(images) < k:
                    del unused[pids[i]]
            if len(batch) == self.batch_size:
                yield from reorder_index(batch, self._world_size)
                batch = []


def _reweighted_indices(self) -> Iterator[int]:
    """Images with a probability that makes every identity equally likely."""
    generator = torch.Generator().manual_seed(self._seed)
    while True:
        drawn = torch.multinomial(self.weights, self._size, replacement=True, generator=generator)
        yield from (self.indices[i] for i in drawn.tolist())


REPAIRS = (refuse_impossible_batches, draw_from_private_generators)
