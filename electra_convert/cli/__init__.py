"""The command line: a group whose commands load when they are called, and one exit code for whatever happens.

Nothing heavy is imported before a command runs: `--help`, `--version` and completion must feel instant.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from electra_convert import __version__
from electra_convert.cli.console import Console
from electra_convert.cli.endings import CLOSED_PIPE, ending_of
from electra_convert.cli.options import HELP_NAMES, Sections
from electra_convert.cli.signals import stopping_by_exception
from electra_convert.errors import EnvironmentFailure, UsageError

NAME = "electra-convert"

# In the order of the help. Command `to-tf1` is `command` in module `electra_convert.cli.to_tf1`.
COMMANDS = ("inspect", "tf1", "verify", "batch", "to-tf1", "probe")

# Set by the shell's completion script (click's convention).
COMPLETION_VARIABLE = "_ELECTRA_CONVERT_COMPLETE"


class Root(Sections, click.Group):
    """The group: finds its commands by name, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name == "help":
            return help_command
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; an unknown word is a usage error with the nearest name."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise _no_such_command(args[0])
        return super().resolve_command(ctx, args)


@click.group(
    NAME,
    cls=Root,
    examples=(
        "electra-convert inspect ckpt/",
        "electra-convert tf1 ckpt/ --export discriminator out/",
        "electra-convert verify ckpt/ out/",
    ),
    epilog="Exit codes: 0 done, 1 not equal, 2 usage, 3 input, 4 environment, 70 bug",
    context_settings={"help_option_names": HELP_NAMES, "max_content_width": 80},
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s", help="Show the version and exit")
@click.pass_obj
def root(console: Console, color: str) -> None:
    """Convert ELECTRA's TensorFlow 1 checkpoints to Hugging Face folders."""
    console.choose_colour(color)


@click.command("help", context_settings={"help_option_names": HELP_NAMES})
@click.argument("name", metavar="[COMMAND]", required=False)
@click.pass_context
def help_command(context: click.Context, name: str | None) -> None:
    """Show the help of a command."""
    parent = context.find_root()
    if name is None:
        click.echo(parent.get_help())
        return
    command = root.get_command(parent, name)
    if command is None:
        raise _no_such_command(name)
    click.echo(command.get_help(click.Context(command, parent=parent, info_name=name)))


def _no_such_command(name: str) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {NAME} {near[0]}?" if near else f"{NAME} --help"
    return UsageError("no such command", found=name, expected=", ".join(COMMANDS), hint=hint)


def process() -> int:
    """Run the command line as a process that ends with it: a signal that comes after the end changes nothing."""
    return main(ends_process=True)


def main(*, ends_process: bool = False) -> int:
    """Run the command line on `sys.argv` and return the exit code (the table is in `endings`)."""
    if os.environ.get(COMPLETION_VARIABLE):
        root.main(prog_name=NAME, complete_var=COMPLETION_VARIABLE)  # answers the shell and exits
    try:
        return _answer(sys.argv[1:], ends_process)
    except KeyboardInterrupt as interrupt:  # before our handlers stand, or after
        return _end(interrupt, Console())


def _answer(arguments: list[str], ends_process: bool) -> int:
    console = Console(json_for=_command_of(arguments) if _asks_for_json(arguments) else None)
    try:
        with stopping_by_exception(ignored_after=ends_process) as stops:
            status = _run(arguments, console, stops)
    except BrokenPipeError:  # whoever read us has gone: nobody to tell
        status = CLOSED_PIPE
    except (EnvironmentFailure, KeyboardInterrupt) as error:  # while telling how it ended
        status = _end(error, console)
    console.close()
    return status


def _run(arguments: list[str], console: Console, stops: Sequence[BaseException]) -> int:
    try:
        with root.make_context(NAME, arguments, obj=console) as context:
            status = root.invoke(context)
    except click.exceptions.Exit as done:  # after --help and --version
        return done.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # the one place where everything ends, bugs included
        return _end(stops[0] if stops else error, console)
    if stops:  # asked to stop where Python drops exceptions: what was published stays, the ending is told
        return _end(stops[0], console)
    return status if isinstance(status, int) else 0


def _end(error: BaseException, console: Console) -> int:
    ending = ending_of(error, debug=console.debug)
    console.show_ending(ending)
    return ending.status


def _asks_for_json(arguments: list[str]) -> bool:
    # Asked of the raw words: a usage error can come before the parser has reached the option.
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in words


def _command_of(arguments: list[str]) -> str:
    return next((word for word in arguments if word in COMMANDS), "error")
