"""Runs the cases of tests/datasets/transform_cases.py in torchvision and records what comes out.

    pip install torchvision
    PYTHONPATH=. python tools/record_transforms.py

The tests compare rushlight with the record, so that they do not need torchvision.
"""

from __future__ import annotations

import random

import numpy as np
import torch
import torchvision.transforms as T

from tests.datasets.transform_cases import (
    CALLS,
    RECORD,
    SEED,
    as_array,
    build,
    cases,
    inputs,
    write_record,
)


def main() -> None:
    """Writes the record."""
    arrays: dict[str, np.ndarray] = {}
    representations = {}
    for text, kind in cases():
        transform = build(text, T, torch)
        picture = inputs(torch.from_numpy)[kind]
        torch.manual_seed(SEED)
        random.seed(SEED)
        for call in range(CALLS):
            arrays[f"{kind}|{call}|{text}"] = as_array(transform(picture))
        representations[text] = repr(transform)
    write_record(representations, arrays)
    print(f"{RECORD}: {len(arrays)} outputs, {RECORD.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
