"""Random numbers that follow from a seed and from values: what no stream can draw ahead."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives.primitive import Aval, primitive

poisson_counts = primitive("poisson_counts")


@poisson_counts.define_rule
def _poisson_rule(rates: Any, seed: Any) -> Aval:
    return Aval(rates.shape, rates.dtype)


@poisson_counts.define_reference
def _poisson_reference(xp: Any, rates: Any, seed: Any) -> Any:
    """Counts of the given rates: not PyTorch's stream."""
    random = np.random.Generator(np.random.PCG64(int(seed)))
    return random.poisson(rates.astype(np.float64)).astype(rates.dtype)
