"""Training steps as users write them, eager against compiled over several steps."""

from __future__ import annotations

import warnings
from collections import namedtuple
from typing import Any

import pytest

import rushlight
import rushlight.nn.functional as F
from rushlight import nn, optim
from rushlight.optim import lr_scheduler as schedules
from rushlight.utils.checkpoint import checkpoint
from tests.compile.steps import assert_equal_steps, batches

pytestmark = pytest.mark.usefixtures("double")


def mlp(*extra: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), *extra, nn.Linear(8, 3))


def training(make_optimizer: Any, *extra: Any, around: Any = None, schedule: Any = None) -> Any:
    """A classifier's step with this optimizer; `around(net)` runs before the optimizer's step."""

    def build() -> Any:
        net = mlp(*(e() for e in extra))
        optimizer = make_optimizer(net.parameters())
        scheduler = schedule(optimizer) if schedule else None

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            if around is not None:
                around(net)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            return loss

        return step, [net, optimizer, *([scheduler] if scheduler else [])]

    return build


OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "SGD momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "SGD nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "Adam amsgrad": lambda p: optim.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "Adamax": lambda p: optim.Adamax(p, 0.01),
    "NAdam": lambda p: optim.NAdam(p, 0.01),
    "RAdam": lambda p: optim.RAdam(p, 0.01),
    "Adagrad": lambda p: optim.Adagrad(p, 0.05, lr_decay=0.1),
    "Adadelta": lambda p: optim.Adadelta(p, 1.0),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01),
    "RMSprop centered": lambda p: optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "Rprop": lambda p: optim.Rprop(p, 0.01),
    "ASGD": lambda p: optim.ASGD(p, 0.01, t0=2),
    "Adafactor": lambda p: optim.Adafactor(p, 0.01),
    "groups": lambda p: optim.SGD([{"params": [q], "lr": 0.1 / (i + 1)} for i, q in enumerate(p)]),
    "tensor lr": lambda p: optim.Adam(p, rushlight.tensor(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    assert_equal_steps(training(OPTIMIZERS[name]), batches(6, (5, 4), classes=3))


def test_every_optimizer_is_tested() -> None:
    known = {n for n in vars(optim) if isinstance(getattr(optim, n), type)} - {"Optimizer"}
    tested = {name.split()[0] for name in OPTIMIZERS}
    assert known - tested <= {"LBFGS", "Muon"}


def test_muon_takes_matrices() -> None:
    def build() -> Any:
        net = nn.Linear(6, 4, bias=False)
        optimizer = optim.Muon(net.parameters(), lr=0.02)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step, [net, optimizer]

    assert_equal_steps(build, batches(5, (3, 6), (3, 4)))


def test_lbfgs_stays_eager_and_says_why() -> None:
    net = nn.Linear(4, 1)
    optimizer = optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)

    def step(x: Any, y: Any) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    compiled = rushlight.compile(step)
    ((x, y),) = batches(1, (5, 4), (5, 1))
    first = compiled(x, y)
    with pytest.warns(RuntimeWarning, match="stays eager"):
        second = compiled(x, y)
    assert second < first
    assert "LBFGS" in compiled.stats()["kept_eager"]


@pytest.mark.parametrize("clip", ["norm", "inf norm", "value"])
def test_clipping(clip: str) -> None:
    def around(net: nn.Module) -> None:
        if clip == "value":
            nn.utils.clip_grad_value_(net.parameters(), 0.01)
        else:
            nn.utils.clip_grad_norm_(
                net.parameters(), 0.05, norm_type=float("inf") if clip == "inf norm" else 2.0
            )

    assert_equal_steps(
        training(OPTIMIZERS["SGD momentum"], around=around), batches(5, (5, 4), classes=3)
    )


SCHEDULES: dict[str, Any] = {
    "StepLR": lambda o: schedules.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [1, 3], 0.1),
    "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 4),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.5, total_steps=10),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.1, step_size_up=2),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.5)], milestones=[2]
    ),
    "ChainedScheduler": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedulers_step_inside(name: str) -> None:
    assert_equal_steps(
        training(lambda p: optim.SGD(p, 0.1, momentum=0.9), schedule=SCHEDULES[name]),
        batches(7, (5, 4), classes=3),
    )


def test_dropout_draws_what_eager_draws_between_eager_calls() -> None:
    build = training(OPTIMIZERS["Adam"], lambda: nn.Dropout(0.5))

    def interleaved() -> Any:
        step, things = build()
        return step, things

    assert_equal_steps(interleaved, batches(5, (5, 4), classes=3))
    net = nn.Dropout(0.5)
    x = rushlight.ones(100)
    compiled = rushlight.compile(net)
    rushlight.manual_seed(3)
    wanted = [net(x) for _ in range(4)]
    rushlight.manual_seed(3)
    found = [compiled(x), net(x), compiled(x), net(x)]
    assert all(rushlight.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not rushlight.equal(found[0], found[2])


def test_batch_norm_keeps_its_statistics() -> None:
    build = training(OPTIMIZERS["SGD"], lambda: nn.BatchNorm1d(8))
    assert_equal_steps(build, batches(5, (5, 4), classes=3))
    cumulative = training(OPTIMIZERS["SGD"], lambda: nn.BatchNorm1d(8, momentum=None))
    assert_equal_steps(cumulative, batches(5, (5, 4), classes=3))


@pytest.mark.parametrize("zeroed", [True, False])
def test_accumulated_gradients(zeroed: bool) -> None:
    def build() -> Any:
        net = mlp()
        optimizer = optim.SGD(net.parameters(), 0.05, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            if zeroed:
                optimizer.zero_grad()
            total = 0.0
            for part, wanted in zip(x.chunk(3), y.chunk(3), strict=True):
                loss = F.cross_entropy(net(part), wanted) / 3
                loss.backward()
                total = total + loss.detach()
            optimizer.step()
            return total

        return step, [net, optimizer]

    assert_equal_steps(build, batches(5, (6, 4), classes=3))


def test_gradients_accumulate_over_calls() -> None:
    def build() -> Any:
        net = mlp()

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        return step, [net]

    assert_equal_steps(build, batches(4, (6, 4), classes=3), compiles=2)


def test_zero_grad_to_zeros() -> None:
    def build() -> Any:
        net = mlp()
        optimizer = optim.SGD(net.parameters(), 0.05)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            return loss

        return step, [net, optimizer]

    assert_equal_steps(build, batches(4, (6, 4), classes=3))


def test_averaged_copies() -> None:
    def build() -> Any:
        net = mlp(nn.BatchNorm1d(8))
        ema = optim.swa_utils.AveragedModel(
            net, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
        )
        mine = [p.detach().clone() for p in net.parameters()]
        optimizer = optim.SGD(net.parameters(), 0.05)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            with rushlight.no_grad():
                for kept, p in zip(mine, net.parameters(), strict=True):
                    kept.lerp_(p, 0.1)
            return loss

        def both(x: Any, y: Any) -> Any:
            loss = step(x, y)
            ema.update_parameters(net)
            return loss

        return both, [net, ema, optimizer, mine]

    assert_equal_steps(build, batches(5, (6, 4), classes=3))


def test_two_networks_and_two_optimizers() -> None:
    def build() -> Any:
        generator = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))
        critic = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1))
        first = optim.Adam(generator.parameters(), 0.01, betas=(0.5, 0.9))
        second = optim.RMSprop(critic.parameters(), 0.01)

        def step(real: Any) -> Any:
            fake = generator(rushlight.randn(real.shape[0], 3))
            second.zero_grad()
            yes, no = critic(real), critic(fake.detach())
            loss = F.binary_cross_entropy_with_logits(yes, rushlight.ones_like(yes))
            loss = loss + F.binary_cross_entropy_with_logits(no, rushlight.zeros_like(no))
            loss.backward()
            second.step()
            first.zero_grad()
            no = critic(fake)
            other = F.binary_cross_entropy_with_logits(no, rushlight.ones_like(no))
            other.backward()
            first.step()
            return {"critic": loss.detach(), "generator": other.detach()}

        return step, [generator, critic, first, second]

    assert_equal_steps(build, batches(5, (6, 4)))


def test_gradient_penalty() -> None:
    def build() -> Any:
        critic = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
        optimizer = optim.SGD(critic.parameters(), 0.05)

        def step(x: Any) -> Any:
            x = x.clone().requires_grad_()
            out = critic(x)
            (grad,) = rushlight.autograd.grad(out.sum(), x, create_graph=True)
            loss = out.mean() + ((grad.norm(2, dim=1) - 1) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step, [critic, optimizer]

    assert_equal_steps(build, batches(4, (6, 4)))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_networks(kind: str) -> None:
    def build() -> Any:
        net = nn.ModuleDict(
            {
                "rnn": getattr(nn, kind)(3, 5, num_layers=2, batch_first=True, dropout=0.2),
                "head": nn.Linear(5, 3),
            }
        )
        optimizer = optim.SGD(net.parameters(), 0.1)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            out, state = net["rnn"](x)
            loss = F.cross_entropy(net["head"](out[:, -1]), y)
            loss.backward()
            optimizer.step()
            return loss, state

        return step, [net, optimizer]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert_equal_steps(build, batches(3, (4, 6, 3), classes=3))


def test_a_loop_over_time_and_layers() -> None:
    def build() -> Any:
        cell = nn.LSTMCell(3, 4)
        layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

        def step(x: Any) -> Any:
            h, c = rushlight.zeros(x.shape[1], 4), rushlight.zeros(x.shape[1], 4)
            for at in range(x.shape[0]):
                h, c = cell(x[at], (h, c))
            for layer in layers:
                h = h + rushlight.tanh(layer(h))
            loss = (h**2).sum()
            cell.zero_grad()
            layers.zero_grad()
            loss.backward()
            return loss

        return step, [cell, layers]

    assert_equal_steps(build, batches(3, (5, 2, 3)), compiles=2)


def test_attention_and_embedding() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 8, padding_idx=0)
            self.places = nn.Parameter(rushlight.randn(5, 8))
            self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            self.norm = nn.LayerNorm(8)
            self.register_buffer("mask", rushlight.ones(5, 5).triu(1).bool())

        def forward(self, x: Any) -> Any:
            h = self.words(x) + self.places
            h = self.block(h, src_mask=self.mask)
            return self.norm(h) @ self.words.weight.T

    def build() -> Any:
        net = Model()
        optimizer = optim.SGD(
            net.parameters(), 0.1, momentum=0.9
        )  # the keys' bias has no gradient, but noise

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x).flatten(0, 1), x.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            return loss

        return step, [net, optimizer]

    words = [(rushlight.randint(0, 7, (3, 5)),) for _ in range(4)]
    assert_equal_steps(build, words)


def test_convolutions_pooling_and_group_norm() -> None:
    def build() -> Any:
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.GroupNorm(2, 4), nn.GELU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 3),
        )  # fmt: skip
        optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y, label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            return loss

        return step, [net, optimizer]

    assert_equal_steps(build, batches(3, (3, 2, 10, 10), classes=3))


def test_checkpoints_draw_the_same_numbers_again() -> None:
    def build() -> Any:
        inner = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Tanh())
        head = nn.Linear(6, 1)

        def step(x: Any) -> Any:
            inner.zero_grad()
            head.zero_grad()
            h = checkpoint(inner, x, use_reentrant=False)
            loss = (head(F.dropout(h, 0.3)) ** 2).sum()
            loss.backward()
            return loss

        return step, [inner, head]

    assert_equal_steps(build, batches(3, (5, 4)), compiles=2)


def test_custom_functions() -> None:
    class Double(rushlight.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, factor: float) -> Any:
            ctx.save_for_backward(x)
            ctx.factor = factor
            return x * factor

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * ctx.factor + 0 * x, None

    def build() -> Any:
        net = mlp()

        def step(x: Any, y: Any) -> Any:
            net.zero_grad()
            loss = F.cross_entropy(Double.apply(net(x), 2.5), y)
            loss.backward()
            return loss

        return step, [net]

    assert_equal_steps(build, batches(3, (5, 4), classes=3), compiles=2)


def test_writes_through_views() -> None:
    def build() -> Any:
        table = rushlight.zeros(4, 3)
        weight = nn.Parameter(rushlight.randn(3, 3))

        def step(x: Any) -> Any:
            table[:, 0] = x[:, 0]
            table[1:3] += 2 * x[1:3]
            table.t()[2].mul_(0.5).add_(1)
            table.view(-1)[::5] -= 1
            row = table[3]
            row[0] = 7
            table[x > 1] = 0.25
            with rushlight.no_grad():
                weight[0].mul_(0.9)
                weight.data[1] -= 0.1
            out = (table.clone() @ weight).sum()
            weight.grad = None
            out.backward()
            return out, table.sum(0)

        return step, [table, weight]

    assert_equal_steps(build, batches(4, (4, 3)), compiles=2)


def test_exchanged_and_chained_state() -> None:
    """New values that are another state's old ones: the order of the writes must not matter."""

    def build() -> Any:
        a, b, c = (rushlight.randn(3) for _ in range(3))

        def step(x: Any) -> Any:
            old = a.clone()
            a.copy_(b)
            b.copy_(c + x)
            c.copy_(old)
            return a * 2

        return step, [a, b, c]

    assert_equal_steps(build, batches(4, (3,)))


Pair = namedtuple("Pair", ["first", "second"])


def test_kinds_of_arguments_and_results() -> None:
    def build() -> Any:
        net = mlp()

        def step(
            batch: dict[str, Any], *rest: Any, scale: float = 2.0, flags: tuple[bool, ...] = (True,)
        ) -> Any:
            out = net(batch["x"]) * scale
            if flags[0]:
                out = out + 1
            for r in rest:
                out = out + r
            return {
                "pair": Pair(out.detach(), [out.sum().detach(), None]),
                "text": "done",
                "n": 3,
                "x": batch["x"],
            }

        return step, [net]

    calls = [({"x": x, "more": (1, "a")}, 1, 2.5) for (x,) in batches(3, (5, 4))]
    assert_equal_steps(build, calls)


def test_inference_and_no_grad() -> None:
    def build() -> Any:
        net = mlp(nn.Dropout(0.5)).eval()

        @rushlight.no_grad()
        def step(x: Any) -> Any:
            out = net(x)
            assert not out.requires_grad
            with rushlight.enable_grad():
                also = net(x)
                assert also.requires_grad
            return out.softmax(-1), also.detach().argmax(-1)

        return step, [net]

    assert_equal_steps(build, batches(3, (5, 4)))
    net = mlp()
    with rushlight.inference_mode():
        compiled = rushlight.compile(net)
        x = rushlight.randn(2, 4)
        assert compiled(x).is_inference()
        assert rushlight.allclose(compiled(x), net(x))


def test_float32_over_ten_steps() -> None:
    rushlight.set_default_dtype(rushlight.float32)
    assert_equal_steps(
        training(OPTIMIZERS["SGD momentum"], lambda: nn.LayerNorm(8)),
        batches(10, (16, 4), classes=3),
    )
