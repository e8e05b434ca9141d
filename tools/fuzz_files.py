"""Reads files that are a little wrong, by the thousand, and prints what came of it; the readers must survive all.

python tools/fuzz_files.py --count 200000

Every reader is fuzzed: the zip format (whole, small, mapped), the legacy stream, the tar format, pickle streams
(mutated, random, hostile) in archives whose sums fit, safetensors, and folders of `save_pretrained`. A case is wrong
that crashes, takes more than 5 s of CPU or more memory than the bound, raises anything but the errors of a bad file, or
does anything that Python's audit hooks hear of (code, processes, files, imports). `--case KIND SEED` repeats one.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

_MEGABYTE = 1 << 20


def main() -> int:
    """Prints a table of counts; 1 if a case went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="only these, with commas between")
    parser.add_argument(
        "--megabytes", type=int, default=256, help="that a case may take beyond the start"
    )
    parser.add_argument(
        "--case", nargs=2, metavar=("KIND", "SEED"), help="one case, with its words"
    )
    options = parser.parse_args()

    from tests.fuzz import files

    corpus = files.Corpus()
    kinds = corpus.kinds()
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        if options.case:
            name, seed = options.case
            print(*files.check(kinds[name], int(seed), Path(folder)), sep=": ")
            return 0
        chosen = {
            name: kinds[name] for name in (options.kinds.split(",") if options.kinds else kinds)
        }
        each = -(-options.count // len(chosen))
        print(
            f"{'':16}{'files':>9}{'loaded':>9}{'refused':>9}{'wrong':>7}{'ms each':>9}{'peak MB':>9}"
        )
        total: Counter[str] = Counter()
        for name, kind in chosen.items():
            started = time.process_time() + _children_seconds()
            counts, peak = _survive(files, kind, name, each, options, Path(folder))
            spent = time.process_time() + _children_seconds() - started
            total += counts
            print(
                f"{name:16}{each:9,}{counts['loaded']:9,}{counts['refused']:9,}{counts['wrong']:7,}"
                f"{1000 * spent / each:9.2f}{peak:9.0f}",
                flush=True,
            )
    print(
        f"{'all':16}{sum(total.values()):9,}{total['loaded']:9,}{total['refused']:9,}{total['wrong']:7,}"
    )
    return 1 if total["wrong"] else 0


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _survive(files, kind, name, count, options, folder) -> tuple[Counter[str], float]:
    """All cases of one kind, in a child that is started again behind a case that kills it."""
    shared = mmap.mmap(-1, 64)  # the next case, and counts: loaded, refused, wrong; peak of memory
    while True:
        begin = struct.unpack_from("<q", shared, 0)[0]
        if begin >= count:
            break
        child = os.fork()
        if child == 0:
            _run(files, kind, name, count, options, folder, shared)
        _, status = os.waitpid(child, 0)
        if status:
            done, loaded, refused, wrong = struct.unpack_from("<4q", shared, 0)
            print(
                f"  {name} {files.seed_of(done, options.seed)}: killed the process ({status})",
                flush=True,
            )
            struct.pack_into("<4q", shared, 0, done + 1, loaded, refused, wrong + 1)
    _, loaded, refused, wrong, peak = struct.unpack_from("<5q", shared, 0)
    return Counter(loaded=loaded, refused=refused, wrong=wrong), peak / 1024


def _run(files, kind, name, count, options, folder, shared) -> None:
    """Cases one after the other, in a process whose memory is bounded; ends it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + options.megabytes * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = ("loaded", "refused", "wrong")
    done, *counts = struct.unpack_from("<4q", shared, 0)
    peak = struct.unpack_from("<q", shared, 32)[0]
    for index in range(done, count):
        seed = files.seed_of(index, options.seed)
        word, said = files.check(kind, seed, folder)
        counts[words.index(word)] += 1
        if word == "wrong":
            print(f"  {name} {seed}: {said[:300]}", flush=True)
        peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        struct.pack_into("<5q", shared, 0, index + 1, *counts, peak)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
