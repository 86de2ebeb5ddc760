"""Help is laid out as drawn, appears without anything heavy being imported, and completion works."""

from __future__ import annotations

import json
import sys
import textwrap

import click
import pytest
from cli_runs import environment, run, run_cli

from electra_convert import __version__, cli

ROOT_HELP = """\
Usage: electra-convert [OPTIONS] COMMAND [ARGS]...

  Convert ELECTRA's TensorFlow 1 checkpoints to Hugging Face folders.

Examples:
  electra-convert inspect ckpt/
  electra-convert tf1 ckpt/ --export discriminator out/
  electra-convert verify ckpt/ out/

Commands:
  inspect  Show what a checkpoint contains
  tf1      Convert a TF1 checkpoint to a Hugging Face folder
  verify   Prove that a folder computes what its checkpoint computes
  batch    Convert and verify many checkpoints
  to-tf1   Write Hugging Face folders as a TF1 checkpoint
  probe    Play ELECTRA's game on real text with converted weights

Options:
  --color [auto|always|never]  [default: auto]
  --version                    Show the version and exit
  -h, --help                   Show this message and exit

Exit codes: 0 done, 1 not equal, 2 usage, 3 input, 4 environment, 70 bug
"""

TF1_HELP = """\
Usage: electra-convert tf1 [OPTIONS] CHECKPOINT OUT

  Convert a TF1 checkpoint to a Hugging Face folder.

  CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the
  checkpoint, an archive of it, or a URL (s3://, gs://, hf://, https://). OUT
  must not exist or be empty.

Examples:
  electra-convert tf1 ckpt/ --export discriminator out/
  electra-convert tf1 ckpt/model.ckpt-1000000 --export both --dry-run out/
  electra-convert tf1 ckpt.zip --num-attention-heads 4 --vocab vocab.txt out/
  electra-convert tf1 finetuned/ --export task --labels negative,positive out/

What to convert:
  --export [discriminator|generator|both|available|task|encoder]
                                  Which half  [default: discriminator]
  --task NAME                     Which task, where there are several
  --task-kind [classification|regression|tagging]
                                  Where neither name nor .meta file tells
  --labels A,B|FILE               Names of a task's labels
  --num-attention-heads N         Where no .meta file tells
  --hidden-act NAME               Activation, where no .meta file tells
  --hparams FILE|JSON             What Google's training was started with
  --config FILE                   Take what no shape tells from this config
  --ignore PATTERN                Variables to leave out; can be repeated
  --allow-nonfinite               Convert weights that are NaN or infinite
  --reader [auto|tensorflow]      Ours, or TensorFlow's  [default: auto]

What to write:
  --vocab FILE                    vocab.txt; default: beside the checkpoint
  --no-tokenizer                  Weights and config only
  --cased / --uncased             Default: what the vocabulary shows
  --strip-accents / --keep-accents
                                  Default: what the vocabulary shows
  --max-length N                  Default: the rows of the position table
  --dtype [float32|float16|bfloat16]
                                  Default: as stored, float64 as float32
  --overwrite                     Replace OUT
  --dry-run                       Show the plan, write nothing
  --strict                        Fail on warnings
  --verify / --no-verify          Prove the result; default: if torch is there

How to show it:
  --json         One JSON document on stdout
  -q, --quiet    No summary, no progress
  -v, --verbose  What was decided and why
  --debug        Tracebacks with errors
  -h, --help     Show this message and exit
"""

INSPECT_HELP = """\
Usage: electra-convert inspect [OPTIONS] CHECKPOINT

  Show what a checkpoint contains.

  CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the
  checkpoint, an archive of it, or a URL (s3://, gs://, hf://, https://). The
  .index file alone is enough.

Examples:
  electra-convert inspect ckpt/
  electra-convert inspect ckpt/model.ckpt-40.index --variables | grep gamma
  electra-convert inspect ckpt.zip --json

What to look at:
  --variables                 A line a variable; columns by tabs when piped
  --reader [auto|tensorflow]  Ours, or TensorFlow's  [default: auto]

How to show it:
  --json         One JSON document on stdout
  -q, --quiet    No summary, no progress
  -v, --verbose  What was decided and why
  --debug        Tracebacks with errors
  -h, --help     Show this message and exit
"""

VERIFY_HELP = """\
Usage: electra-convert verify [OPTIONS] CHECKPOINT OUT

  Prove that a folder computes what its checkpoint computes.

  CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the
  checkpoint, an archive of it, or a URL (s3://, gs://, hf://, https://). OUT
  is a Hugging Face ELECTRA folder of this or another tool, or one with the
  folders discriminator and generator.

Examples:
  electra-convert verify ckpt/ out/
  electra-convert verify ckpt/ out/ --junit-xml parity.xml --html parity.html
  electra-convert verify ckpt.zip downloaded/ --with-transformers

What to compare:
  --reference [auto|graph|numpy|tensorflow]
                                  What is right; numpy is reference.py, the
                                  others run the graph in .meta  [default:
                                  auto]
  --with-transformers             Also load and run OUT with transformers
  --task NAME                     Which task OUT is, where there are several
  --seed N                        Of the inputs  [default: 0]
  --reader [auto|tensorflow]      Ours, or TensorFlow's  [default: auto]

What to write:
  --junit-xml FILE  A report for CI systems
  --html FILE       A report for people: one page, self-contained

How to show it:
  --json         One JSON document on stdout
  -q, --quiet    No summary, no progress
  -v, --verbose  What was decided and why
  --debug        Tracebacks with errors
  -h, --help     Show this message and exit

Exit codes: 0 equal, 1 not equal, 2 usage, 3 input refused, 4 environment;
reports are written for 0 and 1, and JUnit XML also for 3 and 4
"""

HEAVY = ("ml_dtypes", "numpy", "rich", "safetensors", "tensorflow", "torch", "transformers")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--help"], ROOT_HELP),
        (["-h"], ROOT_HELP),
        (["help"], ROOT_HELP),
        (["tf1", "--help"], TF1_HELP),
        (["tf1", "-h"], TF1_HELP),
        (["help", "tf1"], TF1_HELP),
        (["inspect", "-h"], INSPECT_HELP),
        (["help", "inspect"], INSPECT_HELP),
        (["verify", "-h"], VERIFY_HELP),
        (["help", "verify"], VERIFY_HELP),
    ],
)
def test_help_reads_as_drawn(arguments, text):
    done = run_cli(*arguments, COLUMNS="200")
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")


def test_help_fits_into_80_columns():
    for text in (ROOT_HELP, TF1_HELP, INSPECT_HELP, VERIFY_HELP):
        assert max(map(len, text.splitlines())) <= 80


def test_version_is_one_line():
    done = run_cli("--version")
    assert (done.returncode, done.stdout) == (0, f"electra-convert {__version__}\n")


def test_every_command_loads_and_is_told_in_one_short_sentence():
    context = click.Context(cli.root)
    for name in cli.COMMANDS:
        command = cli.root.get_command(context, name)
        assert command.name == name
        assert 10 < len(command.get_short_help_str(60)) <= 60
        assert "..." not in command.get_short_help_str(60)


def test_every_option_says_what_it_does():
    context = click.Context(cli.root)
    for name in cli.COMMANDS:
        command = cli.root.get_command(context, name)
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert all(option.help for option in options)
        assert len({option.name for option in options}) == len(options)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["tf1", "--help"], ["inspect", "--help"], ["verify", "-h"], ["nope"]]
)
def test_nothing_heavy_is_imported_before_a_command_runs(arguments):
    program = """
        import json, sys
        from electra_convert import cli
        sys.argv[1:] = json.loads(sys.argv[1])
        status = cli.main()
        print(json.dumps(sorted(sys.modules)), file=sys.stderr)
    """
    done = run([sys.executable, "-c", textwrap.dedent(program), json.dumps(arguments)])
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert loaded.isdisjoint(HEAVY)
    assert "click" in loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(shell):
    done = run(_entry_point(), environment(_ELECTRA_CONVERT_COMPLETE=f"{shell}_source"))
    assert done.returncode == 0
    assert "_ELECTRA_CONVERT_COMPLETE" in done.stdout
    assert "electra-convert" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("electra-convert ", {"inspect", "tf1", "verify", "batch", "to-tf1", "probe"}),
        ("electra-convert tf1 --ex", {"--export"}),
        ("electra-convert tf1 --export d", {"discriminator"}),
    ],
)
def test_completion_offers_commands_options_and_choices(words, expected):
    env = environment(
        _ELECTRA_CONVERT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    done = run(_entry_point(), env)
    assert done.returncode == 0
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected


def _entry_point() -> list[str]:
    return [sys.executable, "-c", "import sys; from electra_convert.cli import main; sys.exit(main())"]
