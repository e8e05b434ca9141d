"""The commands, and how errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from rushlight import __version__
from rushlight.cli.errors import expected, one_line
from rushlight.cli.info import info
from rushlight.cli.predict import predict
from rushlight.cli.train import train

BAD_INPUT, INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rushlight")
def commands() -> None:
    """PyTorch's tensors, autograd, nn and optim in pure Python.

    `rushlight train` trains LeNet on real digits that come with the package.
    """


commands.add_command(train)
commands.add_command(predict)
commands.add_command(info)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0, 2 for what a user can mend, 130 for
    Ctrl-C.
    """
    try:
        result = commands.main(
            None if arguments is None else list(arguments),
            prog_name="rushlight",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as asked:
        print(asked.format_message())
        return 0
    except click.ClickException as problem:
        return _say(problem.format_message())
    except (KeyboardInterrupt, click.Abort):
        print("rushlight: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone (`rushlight info x | head`): that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except expected() as problem:
        return _say(one_line(problem))
    return result if isinstance(result, int) else 0


def _say(message: str) -> int:
    print(f"rushlight: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
