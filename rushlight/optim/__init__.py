"""torch.optim: optimizers and learning rate schedulers. See README.md."""

from rushlight.optim import lr_scheduler, swa_utils
from rushlight.optim.adam import Adam, AdamW
from rushlight.optim.adam_variants import NAdam, RAdam
from rushlight.optim.adaptive import Adadelta, Adagrad, Adamax, RMSprop
from rushlight.optim.asgd_rprop import ASGD, Rprop
from rushlight.optim.lbfgs import LBFGS
from rushlight.optim.matrices import Adafactor, Muon
from rushlight.optim.optimizer import Optimizer
from rushlight.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]


def __getattr__(name: str) -> object:
    """Says why the one optimizer of PyTorch's that is left out is not here."""
    if name == "SparseAdam":
        raise AttributeError(
            "rushlight.optim has no SparseAdam: it is for sparse gradients, and there are no sparse tensors "
            "here; use Adam"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
