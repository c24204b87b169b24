"""The command line: ``hwsearch COMMAND``; commands load when they are called."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from hwsearch.commands import CONTEXT
from hwsearch.errors import DeviceError, HwsearchError, InputError, RefusedError

COMMANDS = {
    "check": "What of a model each backend runs, and what to mend before a search.",
    "optimize": "Search pruning, bits and runtime of a Keras model within a budget.",
    "worker": "Join a search from another process or machine.",
    "report": "What a finished search found.",
    "ui": "Start MLflow's page and print the link to a search's trials.",
    "export": "Write a model's bundle: .tflite, C sources, firmware project, report, card.",
    "compare": "Two searches or models side by side, with limits for CI.",
    "estimate": "What a model takes of a board: flash, RAM, latency, energy, per operator.",
    "verify": "Build, run and compare a .tflite on a device or an emulated core.",
    "calibrate": "Fit latency coefficients, to published measurements or to a device of yours.",
    "boards": "The boards of the catalogue.",
    "backends": "The deployment backends and what they run.",
    "doctor": "What is missing on this machine, and the command that mends it.",
    "completion": "What makes a shell complete these commands.",
}
"""By name the line in ``hwsearch --help``; each is ``command`` in a module of
:mod:`hwsearch.commands`."""

EXIT_CODES = """Exit codes: 0 done; 1 done, and the answer is no (a limit is exceeded); 2 a
command, file, name or value that cannot be used; 3 the backend cannot run the model; 4 compiler,
emulator or device failed; 5 another failure; 70 a fault of hwsearch itself; 130 interrupted."""

UNUSABLE, REFUSED, DEVICE, FAILED, FAULT, INTERRUPTED = 2, 3, 4, 5, 70, 130


class Commands(click.Group):
    """Loads a command's module when it is asked for, so that help costs no TensorFlow."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"hwsearch.commands.{name}").command
        command.short_help = COMMANDS[name]
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown name is answered with the nearest, or all."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {name!r}. {hint}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings=CONTEXT, epilog=EXIT_CODES)
@click.version_option(package_name="hwsearch")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def group() -> None:
    """Put Keras models onto microcontrollers, within a budget."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. What went wrong is one paragraph on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        found = group.main(given, prog_name="hwsearch", standalone_mode=False)
        sys.stdout.flush()
        return found if isinstance(found, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return UNUSABLE
    except click.ClickException as error:
        return _told(given, error.format_message(), UNUSABLE)
    except (click.Abort, KeyboardInterrupt):
        return _told(given, "interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read us has seen enough
        _drop_output()
        return 0
    except HwsearchError as error:
        return _told(given, str(error), _code(error))
    except OSError as error:
        return _told(given, *_refused(error))
    except Exception as error:
        return _told(
            given,
            f"{type(error).__name__}: {error}. This is a fault of hwsearch: please report it with "
            "what --debug adds.",
            FAULT,
        )


def _told(arguments: Sequence[str], message: str, code: int) -> int:
    if "--debug" in arguments:
        traceback.print_exc()
    click.echo(f"hwsearch: {' '.join(message.split())}", err=True)
    return code


def _refused(error: OSError) -> tuple[str, int]:
    """What the system refused, and the exit code: a place that was named, or another thing."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename} cannot be used: {reason}. Name another place.", UNUSABLE
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return f"the system refused: {reason}.", FAILED


def _drop_output() -> None:
    """What is still to be written to stdout goes nowhere; Python would try again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code(error: HwsearchError) -> int:
    for kind, code in ((InputError, UNUSABLE), (RefusedError, REFUSED), (DeviceError, DEVICE)):
        if isinstance(error, kind):
            return code
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
