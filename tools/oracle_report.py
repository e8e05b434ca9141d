"""Prints how far rushlight agrees with PyTorch on PyTorch's own cases.

    python tools/oracle_report.py               the totals
    python tools/oracle_report.py conv2d relu   these ops, with what fails
    python tools/oracle_report.py --failing     all that fail, with the first failure of each

Needs PyTorch (pip install -e '.[oracle]').
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Runs the cases and prints the report; 1 if something fails that is not in the ledger of known gaps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="ops, modules or optimizers (all if none is given)"
    )
    parser.add_argument(
        "--failing", action="store_true", help="print the first failure of each that fails"
    )
    options = parser.parse_args()

    import torch

    from rushlight.ops.declare import OPS
    from tests.oracle.module_cases import modules, optimizers, run_module, run_optimizer
    from tests.oracle.op_cases import cases, key_of, run_op
    from tests.oracle.test_op_db import dtypes_of
    from tests.support.ledger import gaps

    show = options.failing or bool(options.names)
    unknown = 0  # that fail and are not in the ledger of known gaps

    def chosen(name: str) -> bool:
        return (
            not options.names
            or name in options.names
            or name.split("/", maxsplit=1)[0] in options.names
        )

    def report(table: str, name: str, results: list[tuple[int, list[str]]]) -> bool:
        nonlocal unknown
        failures = [f for _, found in results for f in found]
        if failures and show:
            print(
                f"{name}: {len(failures)} of {sum(n for n, _ in results)} cases fail: {failures[0]}",
                flush=True,
            )
            for more in failures[1:] if options.names else ():
                print(f"    {more}", flush=True)
        unknown += bool(failures) and name not in gaps().get(table, {})
        return not failures

    passing: dict[str, bool] = {}
    total = 0
    for info, declared in cases():
        if chosen(key_of(info)):
            results = [run_op(info, d) for d in dtypes_of(info)]
            total += sum(n for n, _ in results)
            passing[declared] = report("op_db", key_of(info), results) and passing.get(
                declared, True
            )
    declared = sum(1 for this in OPS.values() if this.function or this.method)
    print(
        f"ops: {declared} declared / {len(passing)} with op_db cases ({total} cases) / "
        f"{sum(passing.values())} passing all"
    )
    for title, table, entries, run, name_of in (
        ("modules", "module_db", modules(), run_module, lambda i: i.module_cls.__name__),
        ("optimizers", "optim_db", optimizers(), run_optimizer, lambda i: i.optim_cls.__name__),
    ):
        picked = [i for i in entries if chosen(name_of(i))]
        good = sum(
            report(table, name_of(i), [run(i, torch.float32), run(i, torch.float64)])
            for i in picked
        )
        print(f"{title}: {len(picked)} in PyTorch's tables / {good} passing all")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
