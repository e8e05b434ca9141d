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
