"""The same seed gives the same numbers: LeNet's first 100 losses in rushlight and in PyTorch.

    python benchmarks/same_seed.py [--steps 100] [--plot FILE]

Seed 0, SGD with momentum, batch 64, a shuffled DataLoader over the shipped digits; nothing but the library's name
differs between the two runs. Asked: at most 1e-4 between any two losses.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))


def losses(library: Any, images: np.ndarray, labels: np.ndarray, steps: int) -> list[float]:
    """The losses of the first steps, by the library's own names."""
    nn, functional, optim, data = (
        importlib.import_module(f"{library.__name__}.{room}")
        for room in ("nn", "nn.functional", "optim", "utils.data")
    )

    class LeNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = (
                nn.Linear(16 * 5 * 5, 120),
                nn.Linear(120, 84),
                nn.Linear(84, 10),
            )

        def forward(self, x: Any) -> Any:
            x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
            x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
            x = functional.relu(self.fc1(x.view(-1, 400)))
            return self.fc3(functional.relu(self.fc2(x)))

    library.manual_seed(0)
    net = LeNet()
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    dataset = data.TensorDataset(
        library.from_numpy(images.copy()), library.from_numpy(labels.copy())
    )
    loader = data.DataLoader(dataset, batch_size=64, shuffle=True)
    found: list[float] = []
    while True:
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
            if len(found) == steps:
                return found


def main() -> int:
    """Runs both, prints every tenth pair and the largest difference; 1 where it is over 1e-4."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--plot", metavar="FILE", help="also draw both curves")
    options = parser.parse_args()
    import torch

    import rushlight
    from rushlight.datasets.digits import Digits

    digits = Digits(train=True)
    images = np.zeros((len(digits), 1, 32, 32), np.float32)
    images[:, 0, 2:30, 2:30] = digits.data.numpy().reshape(-1, 28, 28) / np.float32(255)
    labels = digits.targets.numpy().astype(np.int64)
    ours = losses(rushlight, images, labels, options.steps)
    theirs = losses(torch, images, labels, options.steps)
    for i in range(0, options.steps, 10):
        print(f"step {i:3d}  torch {theirs[i]:.6f}  rushlight {ours[i]:.6f}")
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"largest difference over {options.steps} steps: {apart:.2e} (asked: at most 1e-4)")
    if options.plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.plot(theirs, label="PyTorch", linewidth=3, alpha=0.5)
        axes.plot(ours, label="rushlight", linewidth=1)
        axes.set(xlabel="step", ylabel="loss", title="LeNet, seed 0")
        axes.legend()
        figure.savefig(options.plot)
    return int(apart > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
