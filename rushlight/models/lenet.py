"""LeNet: two convolutions and three linear layers that read a digit of 32 x 32 pixels."""

from __future__ import annotations

from typing import Any

from rushlight import nn
from rushlight.nn import functional as F

SIDE = 32  # pixels of its input, in both directions


class LeNet(nn.Module):
    """The convolutional network of the introduction to PyTorch, after LeNet-5.

    Input (N, 1, 32, 32), output (N, num_classes): a score for each class. 61,706 parameters with
    ten classes. Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning
    applied to document recognition", 1998; with ReLU and max pooling.

    >>> import rushlight
    >>> from rushlight.models import LeNet
    >>> LeNet()(rushlight.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Any) -> Any:
        """The scores of a batch of pictures (N, 1, 32, 32)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)

    def num_flat_features(self, x: Any) -> int:
        """How many numbers there are for each picture of the batch."""
        count = 1
        for size in x.size()[1:]:
            count *= size
        return count
