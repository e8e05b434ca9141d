"""Classic mistakes with modules, losses, optimizers, checkpoints: the module's path is in the message."""

from __future__ import annotations

from typing import Any

import pytest

import rushlight
from tests.errors.support import line_with, message_of, says

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")


def network(lib: Any) -> Any:
    """A small network with names that messages must show."""

    class Net(lib.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.body = lib.nn.Sequential(lib.nn.Conv2d(3, 8, 3), lib.nn.ReLU())
            self.fc1 = lib.nn.Linear(4, 8)

        def forward(self, x: Any) -> Any:
            if x.dim() == 4:
                return self.body(x)  # the convolution
            return self.fc1(x)  # the linear layer

    return Net()


CALLS: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "features that do not fit": (
        lambda lib: lib.ones(2, 5),
        ("net.fc1 (Linear(in_features=4", "2x5 and 4x8", "[2, 5]", "takes 4"),
        "# the linear layer",
    ),
    "doubles into a float layer": (
        lambda lib: lib.ones(2, 4, dtype=lib.float64),
        ("net.fc1 (Linear", "same dtype", "Double", "Float", "[2, 4]"),
        "# the linear layer",
    ),
    "channels that do not fit": (
        lambda lib: lib.ones(1, 1, 8, 8),
        ("net.body.0 (Conv2d(3, 8", "[1, 1, 8, 8]", "3 channels", "got 1 channels"),
        "# the convolution",
    ),
    "picture smaller than the kernel": (
        lambda lib: lib.ones(1, 3, 2, 2),
        ("net.body.0 (Conv2d", "(2 x 2)", "(3 x 3)", "greater than actual input size"),
        "# the convolution",
    ),
    "doubles into a float convolution": (
        lambda lib: lib.ones(1, 3, 8, 8, dtype=lib.float64),
        ("net.body.0 (Conv2d", "should be the same", "float64", "float32"),
        "# the convolution",
    ),
}


@pytest.mark.parametrize("mistake", CALLS)
def test_wrong_input_names_the_layer(mistake: str) -> None:
    make, words, place = CALLS[mistake]

    def program(lib: Any) -> None:
        net = network(lib)
        net(make(lib))

    says(message_of(program, torch), *words, line_with(network, place))


def test_the_op_that_made_the_wrong_input_is_named() -> None:
    def program(lib: Any) -> None:
        net = network(lib)
        x = lib.ones(2, 3, 4, requires_grad=True)
        flat = x.flatten(1)  # too flat
        net(flat)

    message = message_of(program, torch)
    says(message, "net.fc1", "[2, 12]", "from [2, 3, 4]", line_with(program, "# too flat"))


LAYERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "one value for batch norm": (
        lambda lib: lib.nn.BatchNorm1d(4)(lib.ones(1, 4)),
        ("BatchNorm1d", "more than 1 value per channel", "[1, 4]"),
    ),
    "channels of batch norm": (
        lambda lib: lib.nn.BatchNorm2d(4)(lib.ones(2, 3, 5, 5)),
        ("BatchNorm2d", "running_mean should contain 3 elements not 4", "[2, 3, 5, 5]"),
    ),
    "rank of batch norm": (
        lambda lib: lib.nn.BatchNorm2d(4)(lib.ones(2, 4)),
        ("BatchNorm2d", "expected 4D input (got 2D input)"),
    ),
    "shape of layer norm": (
        lambda lib: lib.nn.LayerNorm(5)(lib.ones(2, 4)),
        ("LayerNorm", "normalized_shape=[5]", "[2, 4]"),
    ),
    "index out of the embedding": (
        lambda lib: lib.nn.Embedding(10, 3)(lib.tensor([1, 10])),
        ("Embedding(10, 3)", "index out of range in self", "index 10", "10 rows"),
    ),
    "floats into the embedding": (
        lambda lib: lib.nn.Embedding(10, 3)(lib.ones(3)),
        ("Embedding(10, 3)", "Long, Int", "float32"),
    ),
    "features of an LSTM": (
        lambda lib: lib.nn.LSTM(5, 7)(lib.ones(3, 2, 4)),
        ("LSTM(5, 7)", "Expected 5, got 4", "[3, 2, 4]"),
    ),
    "hidden state of an LSTM": (
        lambda lib: lib.nn.LSTM(5, 7)(lib.ones(3, 2, 5), (lib.zeros(1, 3, 7),) * 2),
        ("LSTM(5, 7)", "Expected hidden[0] size (1, 2, 7), got [1, 3, 7]"),
    ),
    "window larger than the picture": (
        lambda lib: lib.nn.MaxPool2d(4)(lib.ones(1, 1, 2, 2)),
        ("MaxPool2d", "Output size is too small", "[1, 1, 2, 2]"),
    ),
    "heads that do not divide": (
        lambda lib: lib.nn.MultiheadAttention(10, 3),
        ("divisible by num_heads", "10", "3"),
    ),
    "groups that do not divide": (
        lambda lib: lib.nn.Conv2d(3, 8, 3, groups=2),
        ("in_channels must be divisible by groups",),
    ),
    "probability above 1": (lambda lib: lib.nn.Dropout(1.5), ("between 0 and 1", "1.5")),
    "forgotten argument": (lambda lib: lib.nn.Linear(2, 2)(), ("Linear", "missing", "'input'")),
    "array in place of a tensor": (
        lambda lib: lib.nn.Linear(2, 2)([1.0, 2.0]),
        ("Linear", "must be Tensor, not list"),
    ),
    "no forward": (lambda lib: lib.nn.Module()(1), ('missing the required "forward"',)),
    "a misspelt child": (
        lambda lib: lib.nn.Linear(2, 2).wieght,
        ("'Linear' object has no attribute 'wieght'",),
    ),
    "tensor where a parameter stands": (
        lambda lib: setattr(lib.nn.Linear(2, 2), "weight", lib.ones(2, 2)),
        ("cannot assign", "as parameter 'weight'", "nn.Parameter or None expected"),
    ),
    "module moved to a device that is not there": (
        lambda lib: lib.nn.Linear(2, 2).to("cuda"),
        ("'cuda'", "tensors live on 'cpu'"),
    ),
}


@pytest.mark.parametrize("mistake", LAYERS)
def test_layer(mistake: str) -> None:
    program, words = LAYERS[mistake]
    says(message_of(program, torch), *words)


@pytest.mark.parametrize("what", ["module", "parameters"])
def test_forgotten_super_init(what: str) -> None:
    def program(lib: Any) -> None:
        class Forgetful(lib.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                if what == "module":
                    self.child = lib.nn.Linear(2, 2)
                else:
                    self.child = lib.nn.Parameter(lib.ones(2))

        Forgetful()

    says(message_of(program, torch), f"cannot assign {what} before Module.__init__() call")


CHECKPOINTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "missing": (lambda lib, d: d.pop("fc1.bias"), ("Missing key(s)", '"fc1.bias"')),
    "unexpected": (
        lambda lib, d: d.update({"head.weight": lib.ones(1)}),
        ("Unexpected key(s)", '"head.weight"'),
    ),
    "another size": (
        lambda lib, d: d.update({"fc1.weight": lib.ones(8, 5)}),
        ("size mismatch for fc1.weight", "torch.Size([8, 5])", "torch.Size([8, 4])"),
    ),
}


@pytest.mark.parametrize("fault", CHECKPOINTS)
def test_checkpoint_of_another_network(fault: str) -> None:
    spoil, words = CHECKPOINTS[fault]

    def program(lib: Any) -> None:
        net = network(lib)
        state = dict(net.state_dict())
        spoil(lib, state)
        net.load_state_dict(state)

    says(message_of(program, torch), "loading state_dict for Net", *words)


def twice(lib: Any, p: Any) -> Any:
    """An optimizer that is given one parameter in two groups."""
    return lib.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


OPTIMIZERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "nothing to optimize": (
        lambda lib: lib.optim.SGD([], lr=0.1),
        ("optimizer got an empty parameter list",),
    ),
    "a result": (
        lambda lib: lib.optim.SGD([lib.ones(3, requires_grad=True) * 2], lr=0.1),
        ("can't optimize a non-leaf Tensor",),
    ),
    "a tensor alone": (
        lambda lib: lib.optim.SGD(lib.ones(3), lr=0.1),
        ("should be an iterable of Tensors", "did you mean [Tensor]"),
    ),
    "a negative rate": (
        lambda lib: lib.optim.Adam([lib.ones(3, requires_grad=True)], lr=-1.0),
        ("Invalid learning rate: -1.0",),
    ),
    "the same parameter twice": (
        lambda lib: twice(lib, lib.ones(3, requires_grad=True)),
        ("more than one parameter group",),
    ),
}


@pytest.mark.parametrize("mistake", OPTIMIZERS)
def test_optimizer(mistake: str) -> None:
    program, words = OPTIMIZERS[mistake]
    says(message_of(program, torch), *words)


LOSSES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "cross_entropy, target of another batch": (
        lambda lib: lib.nn.functional.cross_entropy(lib.ones(4, 3), lib.zeros(5).long()),
        ("batch_size (4)", "batch_size (5)", "[4, 3]", "[4], not [5]"),
    ),
    "cross_entropy, float classes": (
        lambda lib: lib.nn.functional.cross_entropy(lib.ones(4, 3), lib.zeros(4)),
        ("target dtype to be Long or Byte", "float32", ".long()"),
    ),
    "cross_entropy, short classes": (
        lambda lib: lib.nn.functional.cross_entropy(lib.ones(4, 3), lib.zeros(4).int()),
        ("target dtype to be Long or Byte", "int32"),
    ),
    "cross_entropy, class too large": (
        lambda lib: lib.nn.CrossEntropyLoss()(lib.ones(4, 3), lib.tensor([0, 1, 2, 3])),
        ("CrossEntropyLoss", "Target 3 is out of bounds", "3 classes", "0 to 2", "[4, 3]"),
    ),
    "cross_entropy, negative class": (
        lambda lib: lib.nn.CrossEntropyLoss()(lib.ones(4, 3), lib.tensor([0, 1, 2, -1])),
        ("Target -1 is out of bounds", "0 to 2"),
    ),
    "nll_loss, class too large": (
        lambda lib: lib.nn.functional.nll_loss(lib.ones(4, 3), lib.tensor([0, 1, 2, 7])),
        ("Target 7 is out of bounds", "0 to 2"),
    ),
    "nll_loss, float classes": (
        lambda lib: lib.nn.functional.nll_loss(lib.ones(4, 3), lib.zeros(4)),
        ("Long or Byte", "float32"),
    ),
    "binary_cross_entropy of scores": (
        lambda lib: lib.nn.BCELoss()(lib.tensor([0.5, 1.5]), lib.tensor([0.0, 1.0])),
        ("BCELoss", "between 0 and 1", "binary_cross_entropy_with_logits"),
    ),
    "binary_cross_entropy, target of another shape": (
        lambda lib: lib.nn.BCELoss()(lib.ones(4, 1), lib.ones(4)),
        ("target size (torch.Size([4]))", "torch.Size([4, 1])"),
    ),
    "binary_cross_entropy_with_logits, target of another shape": (
        lambda lib: lib.nn.BCEWithLogitsLoss()(lib.ones(4, 1), lib.ones(4)),
        ("Target size (torch.Size([4]))", "input size (torch.Size([4, 1]))"),
    ),
    "mse_loss, shapes that do not broadcast": (
        lambda lib: lib.nn.MSELoss()(lib.ones(4, 2), lib.ones(4, 3)),
        ("MSELoss", "tensor a (2)", "tensor b (3)", "[4, 2]", "[4, 3]"),
    ),
    "an unknown reduction": (
        lambda lib: lib.nn.functional.l1_loss(lib.ones(2), lib.ones(2), reduction="avg"),
        ("avg", "not a valid value for reduction"),
    ),
}


@pytest.mark.parametrize("mistake", LOSSES)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_loss(mistake: str) -> None:
    program, words = LOSSES[mistake]
    says(message_of(program, torch), *words)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_target_that_only_broadcasts_warns_at_the_users_line(loss: str) -> None:
    input, target = rushlight.ones(4, 1), rushlight.ones(4)
    with pytest.warns(UserWarning, match="incorrect results due to broadcasting") as caught:
        getattr(rushlight.nn.functional, loss)(input, target)
    assert caught[0].filename == __file__
    says(str(caught[0].message), "torch.Size([4])", "torch.Size([4, 1])")


def test_target_that_only_broadcasts_warns_through_the_module() -> None:
    criterion = rushlight.nn.MSELoss()
    with pytest.warns(UserWarning, match="incorrect results due to broadcasting") as caught:
        criterion(rushlight.ones(4, 1), rushlight.ones(4))
    assert caught[0].filename == __file__


def test_samples_of_several_shapes() -> None:
    def program(lib: Any) -> None:
        import importlib

        data = importlib.import_module(f"{lib.__name__}.utils.data")
        list(data.DataLoader([lib.ones(3), lib.ones(4)], batch_size=2))

    says(message_of(program, torch), "[3] at entry 0", "[4] at entry 1", "collate_fn")


def test_an_error_of_the_users_own_is_left_alone() -> None:
    class Mine(rushlight.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("my own words")

    with pytest.raises(ValueError, match=r"^my own words$"):
        rushlight.nn.Sequential(Mine())(rushlight.ones(1))
