"""Parameters and optimizers' state begin at a cache line, and nobody can tell otherwise."""

from __future__ import annotations

import copy
import pickle

import rushlight
from rushlight import nn, optim


def test_parameters_and_state_begin_at_a_cache_line() -> None:
    layer = nn.Linear(70, 60)
    x = rushlight.randn(3, 70)
    for kind in (optim.Adam, lambda p: optim.SGD(p, lr=0.1, momentum=0.9)):
        optimizer = kind(layer.parameters())
        layer(x).sum().backward()
        optimizer.step()
        for tensor in (layer.weight, *optimizer.state[layer.weight].values()):
            assert tensor.ndim == 0 or tensor.data_ptr() % 64 == 0


def test_storage_begins_where_an_aligned_tensor_does() -> None:
    weight = nn.Linear(70, 60).weight.detach()
    assert weight.storage_offset() == 0
    assert weight.untyped_storage().nbytes() == 70 * 60 * 4
    part = weight[5:, 3:]
    assert part.storage_offset() == 5 * 70 + 3
    assert part.untyped_storage().nbytes() == 70 * 60 * 4
    assert part.untyped_storage().data_ptr() == weight.data_ptr()
    for other in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        assert (other == weight).all()
        assert other.untyped_storage().nbytes() == 70 * 60 * 4
