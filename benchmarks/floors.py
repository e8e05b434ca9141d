"""What a training step of each program must do at least: floating point operations, and bytes of parameters and state.

Counted by hand from the layers of models.py, a multiplication and an addition as two operations. A layer's backward is
two products as large as its forward; a first layer needs no gradient of its input. Elementwise work and normalization
are not counted; of causal attention the half that is not masked.
"""

from __future__ import annotations

from collections.abc import Iterator


def linear(rows: int, inputs: int, outputs: int) -> int:
    """A matrix product."""
    return 2 * rows * inputs * outputs


def conv(images: int, channels: int, outputs: int, kernel: int, side: int) -> int:
    """A convolution over square pictures of `side` results."""
    return linear(images * side * side, channels * kernel * kernel, outputs)


def _resnet(b: int) -> Iterator[tuple[int, int]]:
    yield conv(b, 3, 16, 3, 32), 2
    channels, side = 16, 32
    for outputs, stride in [(16, 1)] * 3 + [(32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]:
        side //= stride
        yield conv(b, channels, outputs, 3, side), 3
        yield conv(b, outputs, outputs, 3, side), 3
        if channels != outputs:
            yield conv(b, channels, outputs, 1, side), 3
        channels = outputs
    yield linear(b, 64, 10), 3


def _gpt(b: int, dim: int = 128, length: int = 64, blocks: int = 4) -> Iterator[tuple[int, int]]:
    tokens = b * length
    for _ in range(blocks):
        for inputs, outputs in ((dim, 3 * dim), (dim, dim), (dim, 4 * dim), (4 * dim, dim)):
            yield linear(tokens, inputs, outputs), 3
        yield linear(tokens, dim, length + 1), 3  # scores and their sums of values, half of each
    yield linear(tokens, dim, 65), 3


#: Per program: for a batch, the (operations of a forward, products that a step makes of that size) of its layers.
LAYERS = {
    "lenet": lambda b: [
        (conv(b, 1, 6, 5, 28), 2), (conv(b, 6, 16, 5, 10), 3), (linear(b, 400, 120), 3), (linear(b, 120, 84), 3),
        (linear(b, 84, 10), 3),
    ],
    "mlp": lambda b: [(linear(b, 784, 512), 2), (linear(b, 512, 512), 3), (linear(b, 512, 10), 3)],
    "convnet": lambda b: [
        (conv(b, 1, 32, 3, 26), 2), (conv(b, 32, 64, 3, 24), 3), (linear(b, 9216, 128), 3), (linear(b, 128, 10), 3),
    ],
    "resnet20": _resnet,
    "charlstm": lambda b: [(linear(b * 64, 256, 512), 3)] * 2 + [(linear(b * 64, 128, 65), 3)],
    "gpt": _gpt,
    "vae": lambda b: [
        (linear(b, 784, 400), 2), (linear(b, 400, 20), 3), (linear(b, 400, 20), 3), (linear(b, 20, 400), 3),
        (linear(b, 400, 784), 3),
    ],
}  # fmt: skip

#: Per program: its parameters, and how often a step moves each: SGD with momentum reads and writes the weight and its
#: momentum, Adam the weight and two averages; forward and backward each read the weight once.
PARAMETERS = {
    "lenet": (61_706, 6), "mlp": (669_706, 6), "convnet": (1_199_882, 8), "resnet20": (272_474, 6),
    "charlstm": (280_897, 8), "gpt": (818_176, 8), "vae": (652_824, 8),
}  # fmt: skip


def flops(program: str, batch: int) -> int:
    """Operations of one training step."""
    return sum(forward * products for forward, products in LAYERS[program](batch))


def parameter_bytes(program: str) -> int:
    """Bytes of parameters and optimizer state that one training step must move."""
    count, moves = PARAMETERS[program]
    return 4 * count * moves
