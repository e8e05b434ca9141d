"""`DistributedSampler`: a dataset shared out among processes that train together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sized

from rushlight.ops import public
from rushlight.random.generator import Generator
from rushlight.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """The part of a dataset that process `rank` of `num_replicas` reads; call `set_epoch` before each epoch.

    Without `drop_last` some samples are repeated so that all processes have equally many. rushlight runs no process
    groups of its own, so both numbers must be given.
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True,
        seed: int = 0, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "Requires distributed package to be available: here num_replicas and rank must be given"
            )
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else math.ceil(count / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        order = list(range(count))
        if self.shuffle:
            generator = Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = public.randperm(count, generator=generator).tolist()
        if not self.drop_last:
            order = list(itertools.islice(itertools.cycle(order), self.total_size))
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Gives the next pass another order, the same on all processes."""
        self.epoch = epoch


__all__ = ["DistributedSampler"]
