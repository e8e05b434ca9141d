"""A disk that is full after any number of bytes: an OSError, the old state whole, and nothing left beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The limit on a file's size stands for the disk's end: the kernel refuses in the middle of a write.
PROGRAM = """
import resource, signal, sys, tempfile
from pathlib import Path
import rushlight
from rushlight import nn
from rushlight.serialization import load_file, save_checkpoint, save_file, load_checkpoint, save_pretrained, load_model

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
SIZE = 5000

def module(number):
    net = nn.Linear(SIZE, 1)
    nn.init.constant_(net.weight, number)
    return net

def read_folder(folder):
    net = module(-1)
    load_model(net, folder)
    return net.weight[0, 0].item()

full = lambda number: {"w": rushlight.full((SIZE,), float(number))}
kinds = {
    "save": (lambda f, n: rushlight.save(full(n), f / "f"), lambda f: rushlight.load(f / "f")["w"][0].item()),
    "save_file": (lambda f, n: save_file(full(n), f / "f"), lambda f: load_file(f / "f")["w"][0].item()),
    "save_checkpoint": (
        lambda f, n: save_checkpoint(f / "f", full(n), {}), lambda f: load_checkpoint(f / "f")[0]["w"][0].item()),
    "one": (lambda f, n: save_pretrained(module(n), f, config={"n": n}), read_folder),
    "shards": (lambda f, n: save_pretrained(module(n), f, max_shard_size=1), read_folder),
}
for kind, (save, read) in kinds.items():
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder, 1)
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        for limit in (0, 1, 7, 100, 1000, 4096, 8192, 15000, 19999):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save(folder, 2)
            except OSError:
                refused += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert read(folder) == 1, (kind, limit)
            after = {p.name: p.read_bytes() for p in folder.iterdir()}
            assert after == before, (kind, limit, sorted(after))
        save(folder, 3)
        assert read(folder) == 3
        if kind != "shards":
            assert sorted(p.name for p in folder.iterdir()) == sorted(before), list(folder.iterdir())
    print(kind, refused)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_disk_that_is_full_at_any_point():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        word for kind in ("save", "save_file", "save_checkpoint", "one", "shards") for word in (kind, "9")
    ]  # fmt: skip
