"""What all commands share: the layout of their help, options in groups of meaning, and `-q -v --debug --json`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from electra_convert.cli.console import Console

HELP_NAMES = ["-h", "--help"]

# Headings of the help.
LOOK = "What to look at"
WHAT = "What to convert"
WRITE = "What to write"
SHOW = "How to show it"
COMPARE = "What to compare"
REPORT = "What to write"
OTHER = "Options"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that knows the heading it stands under in the help."""

    def __init__(self, *args: Any, group: str = OTHER, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Sections(click.Command):
    """A command whose help reads: usage, what it does, examples, commands, options by group, and a last line.

    Examples stand before the options, because they are what people look for, and are kept as typed.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the whole help."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        for group, rows in self._option_rows(ctx).items():
            with formatter.section(group):
                formatter.write_dl(rows)
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(f"{inspect.cleandoc(self.epilog)}\n")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names of a group's commands, each with the first sentence of its help."""
        assert isinstance(self, click.Group)
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _sentence(command.get_short_help_str(60))) for name, command in found if command]
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, but refuse a switch that is given both ways; click would take the last one."""
        words = set(args[: args.index("--")] if "--" in args else args)
        for option in self.params:
            yes, no = words.intersection(option.opts), words.intersection(option.secondary_opts)
            if yes and no:
                raise click.UsageError(f"{yes.pop()} and {no.pop()} contradict each other", ctx)
        return super().parse_args(ctx, args)

    def _option_rows(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        rows: dict[str, list[tuple[str, str]]] = {}
        group = OTHER
        for parameter in self.get_params(ctx):
            if isinstance(parameter, GroupedOption):
                group = parameter.group
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                # click's own `--help` comes last and joins the group before it.
                rows.setdefault(group, []).append((record[0], _sentence(record[1])))
        return rows


def _sentence(text: str) -> str:
    return text.removesuffix(".")


def verb(
    name: str, examples: Sequence[str], epilog: str | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command with the help layout and the settings that all commands share."""
    settings = {"help_option_names": HELP_NAMES, "max_content_width": 80}
    return click.command(name, cls=Sections, examples=examples, epilog=epilog, context_settings=settings)


def option(group: str, *names: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """Declare an option that stands under `group` in the help."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def reader_option(group: str) -> Callable[[Decorated], Decorated]:
    """Declare `--reader`."""
    readers = click.Choice(["auto", "tensorflow"])
    return option(group, "--reader", type=readers, default="auto", show_default=True, help="Ours, or TensorFlow's")


def show_options(function: Decorated) -> Decorated:
    """Declare `--json`, `-q`, `-v` and `--debug`; the function gets `as_json`, `quiet` and `verbose`."""
    for decorate in (
        option(SHOW, "--debug", is_flag=True, expose_value=False, callback=_debug, help="Tracebacks with errors"),
        option(SHOW, "-v", "--verbose", is_flag=True, callback=_not_quiet, help="What was decided and why"),
        option(SHOW, "-q", "--quiet", is_flag=True, is_eager=True, help="No summary, no progress"),
        option(SHOW, "--json", "as_json", is_flag=True, help="One JSON document on stdout"),
    ):
        function = decorate(function)
    return function


def _debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Console).debug = value


def _not_quiet(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value and context.params["quiet"]:
        raise click.UsageError("--quiet and --verbose contradict each other", context)
    return value
