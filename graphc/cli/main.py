"""`graphc`: the group of commands, the global options, and how a command ends.

Exit codes: 0 ok, 1 your model, 2 usage, 3 a check failed, 4 an optional tool is missing, 5 the artefact does not fit
this machine, 70 a bug in graphc, 130 interrupted, 141 the reader of a pipe has gone, 143 terminated.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import click

from graphc import __version__
from graphc.cli.console import Console
from graphc.errors import GraphcError, OutputError, UsageError, nearest

INTERRUPTED, PIPE_CLOSED, TERMINATED, BUG = 130, 141, 143, 70

# In the order of `graphc -h`: from a model to what comes out of it.
COMMANDS = (
    "compile", "run", "bench", "render", "summary", "train", "gradcheck", "explain", "verify", "export", "inspect",
    "doctor",
)  # fmt: skip


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        console_of(context).json = True


def _set_verbosity(context: click.Context, parameter: click.Parameter, value: int) -> None:
    if value:
        console_of(context).verbosity = -1 if parameter.name == "quiet" else value


def _set_color(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        console_of(context).color = value


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        console_of(context).result({"graphc": __version__}, f"graphc {__version__}")
        context.exit()


def console_of(context: click.Context) -> Console:
    """The console of a command line; every command shares the one of the group."""
    root = context.find_root()
    if root.obj is None:
        root.obj = Console()
    console: Console = root.obj
    return console


def global_options() -> list[click.Option]:
    """Accepted before and after the name of a command."""
    return [
        click.Option(
            ["--json"], is_flag=True, is_eager=True, expose_value=False, callback=_set_json,
            help="Write the result as one JSON object.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_verbosity, help="Write no notes."
        ),
        click.Option(
            ["-v", "--verbose"], count=True, expose_value=False, callback=_set_verbosity, help="Write more notes."
        ),
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), expose_value=False, callback=_set_color,
            help="Colours; by default on a terminal, unless NO_COLOR is set.",
        ),
    ]  # fmt: skip


class Command(click.Command):
    """A command that knows the global options and `-h`."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*arguments, **keywords)
        self.params += global_options()


class Group(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"graphc.cli.{name}").command
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise UsageError(
                f"no command {name}{nearest(name, COMMANDS)}", fix="graphc -h lists the commands"
            )
        return super().resolve_command(context, arguments)


@click.group(
    name="graphc",
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *global_options(),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, callback=_show_version, help="Show the version."
        ),
    ],
)
@click.pass_context
def group(context: click.Context) -> None:
    """Compile models to native code, draw their graphs, explain both.

    \b
      graphc compile lenet.py          native code, NumPy source and a manifest in lenet.graphc/
      graphc run lenet.graphc          run it
      graphc render lenet.py -o f.svg  draw its forward and backward graph
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


class Terminated(BaseException):
    """SIGTERM: ends the program as an exception, so that what is half-written is taken away."""


@contextlib.contextmanager
def _terminated_as_exception() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_GRAPHC_COMPLETE" in os.environ:
        return _complete()
    console = Console()
    console.json = "--json" in words  # so that an error in the command line itself is told as asked
    try:
        with _terminated_as_exception():
            return _run(words, console)
    except BrokenPipeError:
        _give_up_output(console)
        return PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        console.note("interrupted")
        return INTERRUPTED
    except Terminated:
        return TERMINATED


def _give_up_output(console: Console) -> None:
    """Python flushes stdout once more when it ends; what cannot be written must not fail there again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), console.out.fileno())


def _run(words: list[str], console: Console) -> int:
    try:
        try:
            with console.own_warnings(), group.make_context("graphc", words, obj=console) as context:
                group.invoke(context)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as error:
            raise _usage_error(error) from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            if isinstance(error, BrokenPipeError) or (error.filename is None and not full):
                raise
            if full and error.filename is None:
                _give_up_output(console)
            place = error.filename or "cannot write"
            raise OutputError(f"{place}: {(error.strerror or str(error)).lower()}") from error
    except GraphcError as error:
        console.error(error)
        if error.exit_code == BUG:
            _report(error, words, console)
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it is a bug, and is reported as one
        _report(error, words, console)
        return BUG
    return 0


def _usage_error(error: click.ClickException) -> GraphcError:
    """click's message in our form."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "graphc"
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], fix=f"{path} -h lists what there is")


def _report(error: Exception, words: list[str], console: Console) -> None:
    from graphc.cli.crash import tell

    tell(error, words, console)


def _complete() -> int:
    """`eval "$(_GRAPHC_COMPLETE=bash_source graphc)"` in the shell's start-up file."""
    from click.shell_completion import shell_complete

    return shell_complete(group, {}, "graphc", "_GRAPHC_COMPLETE", os.environ["_GRAPHC_COMPLETE"])
