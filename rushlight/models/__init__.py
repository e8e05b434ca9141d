"""Small networks that rushlight is shown with. See README.md."""

from rushlight.models.lenet import LeNet

__all__ = ["LeNet"]
