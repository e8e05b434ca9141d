"""PyTorch's random streams, number by number."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rushlight

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")

#: Sizes around the places where PyTorch's kernels change their ways (16 elements, and blocks of them).
SIZES = [(), (0,), (1,), (7,), (15,), (16,), (17,), (33,), (4, 5), (100,), (3, 1, 50)]


def both(draw: Any, seed: int = 7) -> tuple[Any, Any]:
    """The same draws by both libraries."""
    found = []
    for library in (rushlight, torch):
        library.manual_seed(seed)
        found.append(draw(library))
    return found[0], found[1]


def equal(ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    a, b = np.asarray(ours.double().tolist()), np.asarray(theirs.double().tolist())
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rand(size: tuple[int, ...], dtype: str) -> None:
    equal(*both(lambda lib: lib.rand(size, dtype=getattr(lib, dtype))))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_randn(size: tuple[int, ...], dtype: str) -> None:
    equal(*both(lambda lib: lib.randn(size, dtype=getattr(lib, dtype))), tolerance=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "bounds", [(0, 2), (0, 10), (-5, 5), (0, 2**31), (0, 2**40), (-(2**62), 2**62)]
)
def test_randint(size: tuple[int, ...], bounds: tuple[int, int]) -> None:
    ours, theirs = both(lambda lib: lib.randint(*bounds, size))
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000, 70_000])
def test_randperm(count: int) -> None:
    ours, theirs = both(lambda lib: lib.randperm(count))
    assert ours.tolist() == theirs.tolist()


FILLS = {
    "uniform_": (-2.0, 3.0),
    "bernoulli_": (0.3,),
    "random_": (),
    "random_ to": (10,),
    "random_ between": (3, 9),
    "geometric_": (0.4,),
}
CLOSE_FILLS = {
    "normal_": (1.0, 2.0),
    "exponential_": (1.5,),
    "cauchy_": (0.5, 2.0),
    "log_normal_": (0.1, 0.5),
}


@pytest.mark.parametrize("name", [*FILLS, *CLOSE_FILLS])
@pytest.mark.parametrize("size", [(1,), (15,), (16,), (40,), (3, 7)])
def test_fills(name: str, size: tuple[int, ...]) -> None:
    arguments = {**FILLS, **CLOSE_FILLS}[name]
    ours, theirs = both(lambda lib: getattr(lib.zeros(size), name.split(maxsplit=1)[0])(*arguments))
    equal(ours, theirs, tolerance=0.0 if name in FILLS else 1e-5)


@pytest.mark.parametrize("size", [(5,), (17,), (3, 8)])
def test_bernoulli_of_chances(size: tuple[int, ...]) -> None:
    equal(*both(lambda lib: lib.bernoulli(lib.linspace(0, 1, int(np.prod(size))).reshape(size))))


@pytest.mark.parametrize("training", [True, False])
def test_dropout(training: bool) -> None:
    equal(*both(lambda lib: lib.nn.functional.dropout(lib.ones(50, 3), 0.4, training)))


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial(replacement: bool) -> None:
    weights = [[0.1, 0.0, 2.0, 1.0], [3.0, 1.0, 1.0, 0.5]]
    count = 20 if replacement else 3
    ours, theirs = both(lambda lib: lib.multinomial(lib.tensor(weights), count, replacement))
    assert ours.tolist() == theirs.tolist()


def test_draws_of_many_kinds_in_a_row() -> None:
    def draw(lib: Any) -> Any:
        parts = [
            lib.rand(3),
            lib.randn(5),
            lib.randint(9, (2,)).float(),
            lib.randn(20),
            lib.rand(1),
            lib.randn(()),
        ]
        return lib.cat([p.reshape(-1) for p in parts])

    equal(*both(draw), tolerance=1e-6)


def test_generators_are_apart() -> None:
    ours, theirs = both(
        lambda lib: lib.cat(
            [lib.rand(2, generator=lib.Generator().manual_seed(3)), lib.rand(2), lib.rand(2)]
        )
    )
    equal(ours, theirs)


def test_state_goes_back() -> None:
    rushlight.manual_seed(1)
    rushlight.randn(3)
    state = rushlight.get_rng_state()
    wanted = rushlight.randn(40).tolist(), rushlight.rand(2).tolist()
    rushlight.set_rng_state(state)
    assert (rushlight.randn(40).tolist(), rushlight.rand(2).tolist()) == wanted
    with pytest.raises(RuntimeError, match="ByteTensor"):
        rushlight.set_rng_state(rushlight.zeros(3))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_a_copied_generator_goes_on_alike(copied: Any) -> None:
    generator = rushlight.Generator().manual_seed(5)
    rushlight.randn(3, generator=generator)
    other = copied(generator)
    assert (
        rushlight.rand(5, generator=generator).tolist()
        == rushlight.rand(5, generator=other).tolist()
    )


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 5, 2**64 - 1, -1])
def test_any_seed(seed: int) -> None:
    equal(*both(lambda lib: lib.rand(4), seed=seed))


@pytest.mark.parametrize(
    ("seed", "error"), [(1.5, TypeError), ("1", TypeError), (2**64, RuntimeError)]
)
def test_what_is_no_seed(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        rushlight.manual_seed(seed)


@pytest.mark.parametrize(
    "layer",
    [
        lambda nn: nn.Linear(7, 5),
        lambda nn: nn.Conv2d(3, 4, 3),
        lambda nn: nn.ConvTranspose1d(3, 4, 3),
        lambda nn: nn.Bilinear(3, 4, 5),
        lambda nn: nn.LSTM(5, 6, 2, bidirectional=True),
        lambda nn: nn.GRUCell(4, 3),
        lambda nn: nn.MultiheadAttention(8, 2, kdim=5, vdim=6),
        lambda nn: nn.TransformerEncoderLayer(8, 2, 16),
    ],
)
def test_layers_begin_alike(layer: Any) -> None:
    """Bit for bit."""
    ours, theirs = both(lambda lib: layer(lib.nn))
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.tolist() == b.tolist(), name


def test_embedding_begins_alike() -> None:
    """Normal numbers: to 1e-6."""
    equal(*(m.weight.detach() for m in both(lambda lib: lib.nn.Embedding(30, 8))), tolerance=1e-6)
