"""Small programs over odd shapes, by family, for the guard pages: each exercises kernels of its family at every edge.

`FAMILIES[name](size)` gives cases; arguments that require gradients get them in the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import rushlight
import rushlight.nn.functional as F


class Case(NamedTuple):
    """A program: `compiled` is to be compiled, `eager` gives what it must give in each of its calls."""

    name: str
    compiled: Callable[..., Any]
    arguments: tuple[Any, ...]
    eager: Callable[..., Any] | None = None
    calls: int = 1


FLOATS = (rushlight.float32, rushlight.float64, rushlight.float16, rushlight.bfloat16)
INTEGERS = (rushlight.int8, rushlight.int16, rushlight.int32, rushlight.int64, rushlight.uint8)


def _make(*shape: int, dtype: Any = rushlight.float32, grad: bool = False, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed + sum(shape))
    if dtype.is_floating_point:
        value = rushlight.from_numpy(np.asarray(rng.uniform(-2, 2, shape))).to(dtype)
    else:
        value = rushlight.from_numpy(np.asarray(rng.integers(0, 100, shape))).to(dtype)
    return value.requires_grad_() if grad else value


def _indices(high: int, *shape: int) -> Any:
    return rushlight.from_numpy(np.random.default_rng(high).integers(0, high, shape))


def _with_gradients(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function's value, and the gradients of all arguments that want one."""

    def both(*args: Any) -> Any:
        out = f(*args)
        wanted = [a for a in args if isinstance(a, rushlight.Tensor) and a.requires_grad]
        weight = rushlight.arange(out.numel(), dtype=out.dtype).reshape(out.shape) % 5 - 1.5
        return out.detach(), *rushlight.autograd.grad((out * weight).sum(), wanted)

    return both


def elementwise(n: int) -> Iterator[Case]:
    for dtype in FLOATS:
        x, y = _make(n, dtype=dtype), _make(n, dtype=dtype, seed=1)
        name = str(dtype).rpartition(".")[2]
        yield Case(f"chain {name}", lambda x, y: (x * 2 + y).tanh() + x.sigmoid() * y.exp(), (x, y))
        yield Case(
            f"functions {name}", lambda x, y: (x.abs() + 1).log() + y.erf() + x.sin().sqrt(), (x, y)
        )
        yield Case(
            f"cast {name}",
            lambda x, y: (x.double() + y.float(), (x > y), x.to(rushlight.int32)),
            (x, y),
        )
    for dtype in INTEGERS:
        x, y = _make(n, dtype=dtype), _make(n, dtype=dtype, seed=1)
        name = str(dtype).rpartition(".")[2]
        yield Case(
            f"integers {name}",
            lambda x, y: (x * y - x, x // (y.clamp(max=9) + 1), x == y, x & y),
            (x, y),
        )
    a, b = _make(n, 1), _make(1, n, seed=1)
    yield Case("outer", lambda a, b: (a + b) * a.relu(), (a, b))
    x, y = _make(n, 5), _make(5, n, seed=1)
    yield Case("transposed", lambda x, y: x.t() * y + 1, (x, y))
    yield Case("transposed out", lambda x, y: (x * 2 + y.t()).t().contiguous(), (x, y))
    yield Case("steps", lambda x, y: x[:, ::2] + y.t()[:, 1:4], (x, y))
    yield Case("backwards", lambda x, y: x.flip(0) - y.t().flip(1), (x, y))
    yield Case("where", lambda x, y: rushlight.where(x > 0, x, y.t()), (x, y))
    m = _make(n, 3, grad=True)
    yield Case(
        "gradients", _with_gradients(lambda m: (m.sigmoid() * m.relu() + F.gelu(m)) / 3), (m,)
    )
    yield Case("bools", lambda x, y: (x > 0) & (y.t() < 1) | (x == 0), (x, y))


def reductions(n: int) -> Iterator[Case]:
    for shape in ((n,), (n, 5), (3, n), (n, n), (2, n, 3)):
        for dtype in (rushlight.float32, rushlight.float64, rushlight.bfloat16, rushlight.int32):
            x = _make(*shape, dtype=dtype)
            name = f"{shape} {str(dtype).rpartition('.')[2]}"
            for axis in range(len(shape)):
                yield Case(
                    f"over {axis} of {name}",
                    lambda x, axis=axis: (x.sum(axis), x.amax(axis), x.argmin(axis)),
                    (x,),
                )
            yield Case(
                f"all of {name}",
                lambda x: (x.sum(), x.amin(), (x > 0).any(), (x * 2 + 1).sum()),
                (x,),
            )
        x = _make(*shape, grad=True)
        yield Case(
            f"moments {shape}",
            _with_gradients(lambda x: x.var(0) + x.mean(0) if x.shape[0] > 1 else x * 1),
            (x,),
        )
        yield Case(
            f"cumulative {shape}", lambda x: (x.cumsum(0), x.detach().cumsum(-1)), (x.detach(),)
        )


def products(n: int) -> Iterator[Case]:
    for rows, inner, columns in (
        (n, 5, 7),
        (7, n, 5),
        (5, 7, n),
        (n, n, n),
        (n, 33, 17),
        (1, n, n),
        (n, n, 1),
    ):
        a, b = _make(rows, inner, grad=True), _make(inner, columns, seed=1, grad=True)
        name = f"{rows}x{inner}x{columns}"
        yield Case(f"product {name}", _with_gradients(lambda a, b: a @ b), (a, b))
        bias = _make(columns, seed=2, grad=True)
        yield Case(
            f"linear {name}",
            _with_gradients(lambda a, b, c: F.relu(F.linear(a, b.t(), c))),
            (a, b, bias),
        )
    a, b = _make(3, n, 9, grad=True), _make(3, 9, n, seed=1, grad=True)
    yield Case("batches", _with_gradients(rushlight.bmm), (a, b))
    yield Case("vector", lambda a, b: (a[0] @ b[0, :, 0], a[0, 0] @ b[0]), (a.detach(), b.detach()))
    a, b = _make(n, 6, dtype=rushlight.float64), _make(6, n, dtype=rushlight.float64)
    yield Case("double", lambda a, b: a @ b, (a, b))
    a, b = _make(n, 6, dtype=rushlight.bfloat16), _make(6, n, dtype=rushlight.bfloat16)
    yield Case("bfloat16", lambda a, b: a @ b, (a, b))
    yield Case(
        "einsum",
        lambda a, b: rushlight.einsum("bij,bjk->ikb", a, b),
        (_make(2, n, 3), _make(2, 3, n)),
    )


def convolutions(n: int) -> Iterator[Case]:
    n = min(n, 33)
    for channels, out, kernel, options in (
        (1, 6, 3, {"padding": 1}), (3, 5, 3, {"padding": 1, "stride": 2}), (16, 17, 3, {"padding": 1}),
        (4, 8, 1, {}), (4, 6, 3, {"padding": 2, "dilation": 2}), (4, 8, 3, {"padding": 1, "groups": 2}),
        (4, 4, 3, {"padding": 1, "groups": 4}), (2, 3, 5, {"padding": 4}), (33, 2, 3, {"padding": 1}),
    ):  # fmt: skip
        for batch in (1, 3, 16):
            if batch == 16 and n > 17:
                continue
            x = _make(batch, channels, n, n + 2, grad=True)
            w = _make(out, channels // options.get("groups", 1), kernel, kernel, seed=1, grad=True)
            b = _make(out, seed=2, grad=True)
            name = f"{batch}x{channels}x{n} {out} {options}"
            yield Case(
                name,
                _with_gradients(lambda x, w, b, o=options: F.relu(F.conv2d(x, w, b, **o))),
                (x, w, b),
            )
    x, w = _make(2, 3, n + 2, grad=True), _make(4, 3, 3, grad=True)
    yield Case("conv1d", _with_gradients(F.conv1d), (x, w))
    x, w = _make(2, 3, n, n, grad=True), _make(3, 4, 3, 3, grad=True)
    yield Case(
        "transposed", _with_gradients(lambda x, w: F.conv_transpose2d(x, w, stride=2)), (x, w)
    )


def windows(n: int) -> Iterator[Case]:
    for shape in ((2, 3, n + 1, n + 2), (17, 1, n + 3, 5)):
        x = _make(*shape, grad=True)
        yield Case(f"max {shape}", _with_gradients(lambda x: F.max_pool2d(x, 2)), (x,))
        yield Case(f"max 3/1 {shape}", _with_gradients(lambda x: F.max_pool2d(x, 3, 1, 1)), (x,))
        yield Case(
            f"relu max {shape}", _with_gradients(lambda x: F.max_pool2d(F.relu(x * 2), 2)), (x,)
        )
        yield Case(
            f"mean {shape}", _with_gradients(lambda x: F.avg_pool2d(x, 2, ceil_mode=True)), (x,)
        )
        yield Case(
            f"adaptive {shape}", _with_gradients(lambda x: F.adaptive_avg_pool2d(x, 1)), (x,)
        )


def gathers(n: int) -> Iterator[Case]:
    table, i = _make(n, 5, grad=True), _indices(n, 9)
    yield Case("embedding", _with_gradients(lambda t, i: F.embedding(i, t)), (table, i))
    yield Case("one row", _with_gradients(lambda t, i: F.embedding(i[:1], t)), (table, i))
    x, wide = _make(4, n, grad=True), _indices(n, 4, 7)
    yield Case("gather", _with_gradients(lambda x, i: x.gather(1, i)), (x, wide))
    yield Case("select", _with_gradients(lambda x, i: x.index_select(1, i[0])), (x, wide))
    yield Case("index", _with_gradients(lambda x, i: x[:, i[1]]), (x, wide))
    yield Case(
        "scatter_add",
        lambda x, i: rushlight.zeros(4, n).scatter_add(1, i, x[:, :1].expand(4, 7)),
        (x.detach(), wide),
    )
    wrong = rushlight.tensor([0, n - 1, -1])
    yield Case("negative", lambda x, i: x[:, i], (x.detach(), wrong))


def rows(n: int) -> Iterator[Case]:
    for shape in ((n, 10), (3, n), (n, n)):
        x = _make(*shape, grad=True)
        yield Case(f"softmax {shape}", _with_gradients(lambda x: F.softmax(x, 1)), (x,))
        yield Case(f"softmax 0 {shape}", _with_gradients(lambda x: F.softmax(x, 0)), (x,))
        yield Case(f"log_softmax {shape}", _with_gradients(lambda x: F.log_softmax(x, -1)), (x,))
        target = _indices(shape[1], shape[0])
        yield Case(f"loss {shape}", _with_gradients(F.cross_entropy), (x, target))
        w = _make(shape[1], seed=1, grad=True)
        yield Case(
            f"layer_norm {shape}", _with_gradients(lambda x, w: F.layer_norm(x, w.shape, w)), (x, w)
        )
        yield Case(
            f"rows {shape}", _with_gradients(lambda x, w: F.layer_norm(x, w.shape, w, w)), (x, w)
        )
    x, w = _make(4, n, 3, 5, grad=True), _make(n, grad=True)
    yield Case(
        "batch_norm",
        _with_gradients(lambda x, w: F.batch_norm(x, None, None, w, w, training=True)),
        (x, w),
    )
    q = _make(2, 2, n, 8, grad=True)
    yield Case(
        "attention",
        _with_gradients(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True)),
        (q,),
    )
    k = _make(2, 2, n + 5, 8, grad=True)
    yield Case(
        "attention across",
        _with_gradients(lambda q, k: F.scaled_dot_product_attention(q, k, k[..., :3])),
        (q, k),
    )


def copies(n: int) -> Iterator[Case]:
    x, y = _make(n, 5), _make(n, 5, seed=1)
    yield Case(
        "cat", lambda x, y: (rushlight.cat([x, y * 2]), rushlight.cat([x + 1, y], 1)), (x, y)
    )
    yield Case("stack", lambda x, y: rushlight.stack([x, y, x], 1), (x, y))
    yield Case("pad", lambda x, y: F.pad(x + y, (1, 2, 3, 0)), (x, y))
    yield Case("permute", lambda x, y: (x.t().contiguous() + 1, y.t().reshape(-1)), (x, y))
    yield Case("corner", lambda x, y: (x.tril(), y.triu(1)), (x, y))
    z = _make(3, n, 5)
    yield Case("turn", lambda z: z.permute(2, 0, 1).contiguous() * 2, (z,))
    yield Case("roll", lambda z: z.roll(1, 1) + z.flip((0, 2)), (z,))
    yield Case("repeat", lambda z: z.repeat(2, 1, 2), (z,))

    def write(x: Any, y: Any) -> Any:
        out = x.clone()
        out[1:, ::2] = y[1:, ::2] * 2
        out[0] += 1
        return out

    yield Case("write", write, (x, y))


def recurrent(n: int) -> Iterator[Case]:
    n = min(n, 33)
    for kind in ("LSTM", "GRU", "RNN"):
        for batch in (1, 5, 17):
            rushlight.manual_seed(0)
            net = getattr(rushlight.nn, kind)(3, n, 1)
            x = _make(4, batch, 3, grad=True)

            def step(x: Any, net: Any = net) -> Any:
                out = net(x)[0]
                return out.detach(), *rushlight.autograd.grad(
                    out.square().sum(), [x, *net.parameters()]
                )

            yield Case(f"{kind} {batch}", step, (x,))


def steps(n: int) -> Iterator[Case]:
    def training(kind: Any) -> Callable[..., Any]:
        rushlight.manual_seed(0)
        net = rushlight.nn.Sequential(
            rushlight.nn.Linear(n, 7), rushlight.nn.ReLU(), rushlight.nn.Linear(7, 3)
        )
        opt = kind(net.parameters(), lr=0.01)

        def step(x: Any) -> Any:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), rushlight.arange(x.shape[0]) % 3)
            loss.backward()
            opt.step()
            return loss

        return step

    for name in ("SGD", "Adam", "AdamW", "RMSprop"):
        kind = getattr(rushlight.optim, name)
        yield Case(name, training(kind), (_make(5, n),), training(kind), calls=3)


FAMILIES: dict[str, Callable[[int], Iterator[Case]]] = {
    f.__name__: f
    for f in (elementwise, reductions, products, convolutions, windows, gathers, rows, copies, recurrent, steps)
}  # fmt: skip
