"""Random small programs as Python text: ops, shapes, dtypes, views, writes through views, backward.

A program is a list of lines in the body of `step`; each was tried eagerly when it was drawn, so that all of them run.
`check` runs a program eager and compiled, three calls each, and says what differs; `shrink` takes out what a failure
does not need.
"""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import rushlight
import rushlight as rl
import rushlight.nn.functional as F
from tests.support.compiled import difference
from tests.support.making import tensors_in
from tests.support.rounding import RUNS, explained, rounded_by_chance

#: What `check` says of a difference that is rounding's: no failure, but counted.
ROUNDING = "moved as far as rounding moves it"

_HEAD = """\
import rushlight as rl
import rushlight.nn.functional as F


def build():
    rl.manual_seed({seed})
{setup}

    def step(x0, x1):
{body}
        return [{returned}]

    return step, [{state}]


def inputs(call):
    rl.manual_seed(1000 + call)
    return {inputs}
"""


@dataclass(frozen=True)
class Program:
    """A program's parts: lines that make state, the input expressions, the lines of the step."""

    seed: int
    setup: tuple[str, ...]
    inputs: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]  # (variable that the line assigns or "", text)
    state: tuple[str, ...]

    def source(self) -> str:
        """The program as Python text that runs by itself."""
        names = list(dict.fromkeys(n for n, _ in self.lines if n))
        body = "\n".join(f"        {text}" for _, text in self.lines) or "        pass"
        return _HEAD.format(
            seed=self.seed,
            setup="\n".join(f"    {line}" for line in self.setup),
            body=body,
            returned=", ".join(f"{n}.detach()" for n in names),
            state=", ".join(self.state),
            inputs="[" + ", ".join(self.inputs) + "]",
        )

    def load(self) -> dict[str, Any]:
        """The namespace of the text."""
        space: dict[str, Any] = {}
        exec(compile(self.source(), f"<program {self.seed}>", "exec"), space)
        return space


# -- drawing ------------------------------------------------------------------------------------------------

_UNARY = (
    "{a}.tanh()",
    "{a}.sigmoid()",
    "F.relu({a})",
    "{a}.abs()",
    "{a}.tanh().exp()",
    "-{a}",
    "({a}.abs() + 0.5).sqrt()",
    "({a}.abs() + 0.5).log()",
    "{a}.square()",
    "{a}.sin()",
    "F.gelu({a})",
    "F.softplus({a})",
    "F.elu({a})",
    "F.silu({a})",
    "{a}.clamp(-0.7, 0.9)",
    "{a} * 1.5",
    "2 - {a}",
    "1 / ({a}.square() + 1)",
    "{a}.cos() ** 2",
    "F.leaky_relu({a}, 0.2)",
    "F.dropout({a}, 0.4)",
    "{a}.clone()",
    "{a}.detach()",
    "{a}.to(rl.float64)",
    "{a}.float()",
    "rl.nan_to_num({a})",
    "{a}.reciprocal().tanh()",
    "F.hardtanh({a})",
    "{a}.expm1().tanh()",
)
_BINARY = (
    "{a} + {b}",
    "{a} - {b}",
    "{a} * {b}",
    "{a} / ({b}.abs() + 0.5)",
    "rl.maximum({a}, {b})",
    "rl.lerp({a}, {b}, 0.3)",
    "rl.where({m}, {a}, {b})",
    "rl.addcmul({a}, {a}, {b}, value=0.5)",
    "{a} @ {b}",
    "F.linear({a}, {b})",
    "rl.einsum('ij,kj->ik', {a}, {b})",
    "rl.cat([{a}, {b}])",
    "rl.cat([{a}, {b}], -1)",
    "rl.stack([{a}, {b}], -1)",
    "rl.hypot({a}, {b})",
    "rl.outer({a}.flatten()[:4], {b}.flatten()[:3])",
    "rl.bmm({a}, {b})",
    "F.mse_loss({a}, {b})",
    "F.conv1d({a}, {b}, padding=1)",
    "F.conv2d({a}, {b}, padding=1)",
    "{a} @ {b}.transpose(-1, -2)",
)
_VIEWS = (
    "{a}.t()",
    "{a}.transpose(0, -1)",
    "{a}.reshape(-1)",
    "{a}.flatten()",
    "{a}.unsqueeze({d})",
    "{a}.squeeze()",
    "{a}[1:]",
    "{a}[..., ::2]",
    "{a}[..., 0]",
    "{a}[-1]",
    "{a}[None]",
    "{a}.flip(0)",
    "{a}.narrow(-1, 0, 2)",
    "{a}.chunk(2, -1)[1]",
    "{a}.split(2)[0]",
    "{a}.unbind(0)[-1]",
    "{a}.diagonal()",
    "{a}.unfold(-1, 2, 1)",
    "{a}.movedim(0, -1)",
    "{a}.unsqueeze(0).expand(3, *{a}.shape)",
    "{a}.repeat(2, *[1] * ({a}.ndim - 1))",
    "{a}.roll(1, -1)",
    "F.pad({a}, (1, 0))",
    "{a}.view({a}.shape[0], -1)",
    "{a}[:, 1]",
    "{a}.permute(*range({a}.ndim)[::-1])",
    "{a}.reshape({a}.shape[-1], -1)",
    "{a}.select(-1, 1)",
    "{a}.contiguous()",
    "{a}[1:, 1:]",
    "{a}.tril()",
    "{a}.triu(1)",
    "F.pad({a}[None], (1, 1), mode='reflect')[0]",
    "{a}.expand_as({a}.clone())",
    "{a}.ravel()",
)
_REDUCTIONS = (
    "{a}.sum()",
    "{a}.sum({d})",
    "{a}.mean({d}, keepdim=True)",
    "{a}.mean()",
    "{a}.amax({d})",
    "{a}.amin({d}, keepdim=True)",
    "{a}.tanh().prod({d})",
    "{a}.std({d})",
    "{a}.var({d}, keepdim=True)",
    "{a}.logsumexp({d})",
    "{a}.norm()",
    "{a}.norm(dim={d})",
    "{a}.cumsum({d})",
    "{a}.softmax({d})",
    "{a}.log_softmax({d})",
    "{a}.max({d}).values",
    "{a}.sort({d}).values",
    "F.layer_norm({a}, {a}.shape[-1:])",
    "{a}.sum((0, -1))",
    "{a}.topk(2, -1).values",
    "F.max_pool2d({a}, 2)",
    "F.avg_pool2d({a}, 2)",
    "F.max_pool1d({a}, 2)",
    "{a}.median({d}).values",
    "F.normalize({a}, dim={d})",
    "{a}.logcumsumexp({d})",
    "{a}.trace()",
)
_INDEXED = (
    "{a}[{i}]",
    "{a}[:, {i}]",
    "{a}.index_select(0, {i})",
    "{a}.gather(0, {i}.reshape(-1, *[1] * ({a}.ndim - 1)).expand(-1, *{a}.shape[1:]))",
    "{a}.index_add(0, {i}, {a}[{i}])",
    "{a}.masked_fill({m}, 0.25)",
    "F.embedding({i}, {a})",
    "{a}[{i}, {i}]",
    "{a}.scatter_add(0, {i}.reshape(-1, *[1] * ({a}.ndim - 1)).expand(-1, *{a}.shape[1:]), {a} * 2)",
    "{a}.index_put(({i},), {a}[0], accumulate=True)",
    "rl.take_along_dim({a}, {i}[:, None] % {a}.shape[-1], -1)",
    "{a}.index_copy(0, {i}[:1], {a}[1:2])",
    "{a}.scatter(-1, ({i}[:1] % {a}.shape[-1]).reshape(*[1] * {a}.ndim), 0.5)",
    "F.one_hot({i}, 4).to({a}.dtype) * 0.5",
    "F.cross_entropy({a}, {i} % {a}.shape[1])",
    "F.nll_loss({a}.log_softmax(1), {i})",
)
_INTEGERS = (
    "{n} + {k}",
    "{n} - {k} * 2",
    "{n} * {k}",
    "{n} // ({k}.abs() + 1)",
    "{n} % ({k}.abs() + 2)",
    "{n} & {k}",
    "{n} ^ 5",
    "{n} | {k}",
    "{n} << 1",
    "~{n}",
    "{n}.sum()",
    "{n}.sum(-1)",
    "{n}.cumsum(0)",
    "{n}.amax(0)",
    "-{n}",
    "{n}.abs()",
    "{n}.to(rl.int32)",
    "{n}.to(rl.uint8)",
    "{n}.long()",
    "({n} > {k}).long()",
    "{n}.flip(0)",
    "{n}.argmax()",
    "{n}.to(rl.float32)",
    "{n} / ({k}.abs() + 1)",
    "{n}.clamp(-2, 3)",
    "rl.where({n} > 0, {n}, {k})",
    "{n}.bool().sum()",
    "{n}[1:]",
    "{n}.t()",
    "{n}.prod(-1)",
    "{n}.sort(-1).values",
    "{n}.to(rl.int8)",
    "rl.maximum({n}, {k})",
)
_WRITES = (
    "{w}.add_({b})",
    "{w}.mul_(0.5)",
    "{w} += {b}",
    "{w}.sub_({b}, alpha=0.3)",
    "{w}[0] = {b}",
    "{w}[..., 0] = 1.5",
    "{w}[1:] *= 0.5",
    "{w}[:, 0] += {b}",
    "{w}.t().mul_(1.25)",
    "{w}.view(-1)[::2] = 0.75",
    "{w}.fill_(0.3)",
    "{w}.copy_({b})",
    "{w}.zero_()",
    "{w}.clamp_(-0.5, 0.5)",
    "{w}.masked_fill_({m}, 2.0)",
    "{w}.tanh_()",
    "{w}[{m}] = 0.125",
    "{w}[-1] -= {w}[0]",
    "{w}.diagonal().add_(1)",
    "{w}[{i}] = 0.5",
    "{w}.index_add_(0, {i}, {a})",
    "{w}.addcmul_({a}, {b}, value=0.1)",
    "{w}.lerp_({b}, 0.25)",
    "{w}.flatten()[1] = 3",
    "{w}.unbind(0)[0].mul_(2)",
    "{w}.transpose(0, -1)[0] += 0.5",
    "{w}.copy_({w}.flip(0))",
    "{w}.index_fill_(0, {i}, 0.2)",
    "{w}[::2] = {w}[1::2] * 2",
    "{w}.uniform_()",
    "{w}.unsqueeze(0).mul_({b})",
    "{w}.chunk(2)[0].zero_()",
    "{w}.scatter_(0, {i}[None] % {w}.shape[0], 0.5)",
)
_SHAPES = (
    (3,),
    (4,),
    (3, 4),
    (4, 3),
    (4, 4),
    (2, 3, 4),
    (3, 1),
    (1, 4),
    (),
    (2, 3, 4, 4),
    (17,),
    (5, 33),
    (2, 70),
    (0, 4),
)
_TEMPLATES = (_UNARY, _BINARY, _VIEWS, _REDUCTIONS, _INDEXED, _INTEGERS, _WRITES)
_WEIGHTS = (4, 5, 5, 3, 2, 2, 4)


class _Drawing:
    """One program while it is drawn."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.dtype = self.random.choice(("rl.float64", "rl.float64", "rl.float32"))
        self.lines: list[tuple[str, str]] = []
        self.count = 0

    def draw(self, length: int) -> Program:
        """A program of about that many lines."""
        choose = self.random.choice
        shapes = [choose(_SHAPES) for _ in range(4)]
        shapes[1] = choose((shapes[0], shapes[1]))
        shapes[2] = choose((shapes[0], shapes[2], shapes[1]))
        self.setup = (
            f"s0 = rl.randn({shapes[2]}, dtype={self.dtype})",
            f"p0 = rl.randn({shapes[3]}, dtype={self.dtype}, requires_grad=True)",
            f"i0 = rl.randint(0, {max(min([n for s in shapes for n in s] or [1]), 1)}, (3,))",
            f"n0 = rl.randint(-5, 6, {choose(_SHAPES[:6])})",
        )
        self.inputs = tuple(f"rl.randn({s}, dtype={self.dtype})" for s in shapes[:2])
        self.space: dict[str, Any] = {"rl": rl, "F": F}
        rl.manual_seed(self.seed)
        for line in self.setup:
            exec(line, self.space)
        for name, text in zip(("x0", "x1"), self.inputs, strict=True):
            self.space[name] = eval(text, self.space)
        for _ in range(length * 3):
            if len(self.lines) >= length:
                break
            self._line()
        if self.random.random() < 0.7:
            self._backward()
        return Program(self.seed, self.setup, self.inputs, tuple(self.lines), ("s0", "p0", "n0"))

    def _names(self, wanted: Any) -> list[str]:
        return [n for n, v in self.space.items() if isinstance(v, rushlight.Tensor) and wanted(v)]

    def _line(self) -> None:
        templates = self.random.choices(_TEMPLATES, _WEIGHTS)[0]
        template = self.random.choice(templates)
        floats = self._names(lambda t: t.is_floating_point())
        recent = floats[-4:] + floats
        wholes = self._names(lambda t: not t.is_floating_point() and t.dtype is not rl.bool)
        choose = self.random.choice
        text = template.format(
            a=choose(recent), b=choose(recent), w=choose(floats), d=choose((0, -1, 0, -1, 1)),
            m=f"({choose(('x0', 'x1', 'x0', 's0'))} > 0.2)", i="i0", n=choose(wholes), k=choose(wholes),
        )  # fmt: skip
        if templates is _WRITES:
            if "p0" in text.split(".")[0] or self.random.random() < 0.3:
                text = f"with rl.no_grad(): {text}"
            self._try("", text)
        else:
            self._try(f"v{self.count}", f"v{self.count} = {text}")

    def _try(self, name: str, text: str) -> None:
        before = dict(self.space)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(text, self.space)
        except Exception:
            self.space = before
            return
        if name:
            made = self.space[name]
            finite = made.numel() == 0 or (
                bool(made.detach().double().abs().amax() < 1e4) and made.numel() < 5000
            )
            if not finite:
                self.space = before
                return
            self.count += 1
        self.lines.append((name, text))

    def _backward(self) -> None:
        ends = self._names(lambda t: t.requires_grad and t.grad_fn is not None)
        if not ends:
            return
        chosen = self.random.sample(ends, min(len(ends), 3))
        total = " + ".join(f"{n}.tanh().sum()" for n in chosen)
        self.lines += [
            ("", "p0.grad = None"),
            ("", f"({total}).backward()"),
        ]
        if self.random.random() < 0.6:
            self.lines.append(
                ("", "with rl.no_grad(): p0.sub_(p0.grad if p0.grad is not None else 0, alpha=0.1)")
            )


def draw(seed: int, length: int = 9) -> Program:
    """The program of a seed that runs eagerly; seeds whose program does not are passed over."""
    while True:
        program = _Drawing(seed).draw(length)
        if run_eagerly(program) is not None:
            return program
        seed += 1_000_000


# -- running ------------------------------------------------------------------------------------------------


def run_eagerly(program: Program) -> Any:
    """Results of three calls and the state after them; None where the program does not run."""
    try:
        return run_wrapped(program, lambda step: step)
    except Exception:
        return None


def check(program: Program) -> str:
    """What differs between eager and compiled, in words; "" where nothing does, ROUNDING where it is no more."""
    wanted = run_eagerly(program)
    if wanted is None:
        return ""
    kept: list[Any] = []

    def wrap(step: Any) -> Any:
        kept.append(rushlight.compile(step))
        return kept[0]

    try:
        found = run_wrapped(program, wrap)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    text = program.source()
    single = "float()" in text or "float32" in text
    words = loosely(found, wanted, 2e-4 if single else 1e-9)
    if words:
        return ROUNDING if is_rounding(program, found, wanted) else words
    stats = kept[0].stats()
    if "history or requires_grad" in str(stats["kept_eager"]):
        return ""  # an argument becomes part of the graph: such a step is kept eager, and says so
    return f"it stays eager: {stats['kept_eager']}" if stats["kept_eager"] else ""


def is_rounding(program: Program, found: Any, wanted: Any) -> bool:
    """Whether eager steps that round otherwise by chance differ as much."""
    others = []
    for run in range(RUNS):
        with rounded_by_chance(run):
            other = run_eagerly(program)
        if other is None:
            return False
        others.append(arrays_in(other))
    try:
        return explained(arrays_in(found), arrays_in(wanted), others)
    except ValueError:  # another number of results, or other shapes
        return False


def arrays_in(value: Any) -> list[Any]:
    """The arrays of all tensors in nested lists."""
    return [np.asarray(t._array) for t in tensors_in(value)]


def run_wrapped(program: Program, wrap: Any) -> Any:
    """As `run_eagerly`, for the step that `wrap` gives; exceptions pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space = program.load()
        step, state = space["build"]()
        step = wrap(step)
        results = []
        for call in range(3):
            inputs = space["inputs"](call)
            results.append([t.clone() for t in step(*inputs)])
            results.append(inputs)
        return results, [(t.detach(), t.grad) for t in state], rl.rand(2)


def loosely(found: Any, wanted: Any, tolerance: float) -> str:
    """`difference`, with room for rounding that a few ops have magnified."""
    words = difference(found, wanted)
    if not words or "differs by" not in words:
        return words
    by = float(words.split("differs by ")[1].split()[0])
    return words if by > tolerance else ""


def shrink(program: Program) -> Program:
    """The program without the lines that its failure does not need."""
    at = len(program.lines) - 1
    while at >= 0:
        smaller = replace(program, lines=program.lines[:at] + program.lines[at + 1 :])
        if check(smaller) not in ("", ROUNDING):
            program = smaller
        at -= 1
    return program


def seeds(count: int, start: int) -> range:
    """The seeds of a run."""
    return range(start, start + count)
