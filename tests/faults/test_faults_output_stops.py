"""A run that is asked to stop says one line, leaves nothing, and ends with 128 and the signal's number."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("counts the calls that Linux has", allow_module_level=True)

import output_experiments as experiments
from output_calls import Calls, counted
from output_rig import ENVIRONMENT, Forker, Scene, forking, words_of

from electra_convert import convert


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forking(tmp_path_factory.mktemp("forker")) as process:
        yield process


@pytest.fixture(scope="module")
def proven_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    pytest.importorskip("torch")
    return Scene(tmp_path_factory.mktemp("proven"), verify=True)


@pytest.fixture(scope="module")
def proving_forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    pytest.importorskip("torch")
    with forking(tmp_path_factory.mktemp("forker"), "torch") as process:
        yield process


def run_over_the_old(scene: Scene, program: str) -> subprocess.CompletedProcess[str]:
    """Run a conversion over the old folder, by a program that a signal reaches."""
    scene.reset("old")
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words_of(scene, "old"))],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        preexec_fn=experiments.deliver_signals,
    )


class TestSignals:
    def test_before_any_call(self, scene: Scene, forker: Forker) -> None:
        experiments.signals_at_calls(scene, forker, count=60).check()

    def test_at_any_moment(self, scene: Scene, forker: Forker) -> None:
        experiments.signals_at_random(scene, forker, count=30).check()

    def test_from_the_start_of_the_process_on(self, scene: Scene) -> None:
        experiments.signals_to_whole_processes(scene, count=6).check()

    @pytest.mark.parametrize("module", ["numpy", "numpy._core._multiarray_umath"])
    @pytest.mark.parametrize("name", experiments.STOPPING)
    def test_while_numpy_is_imported(self, scene: Scene, name: str, module: str) -> None:
        """C code, NumPy's own or that of a module which needs it, prints what is raised then, or makes it another."""
        program = (
            "import os, signal, sys\n"
            "class Once:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == '{module}': os.kill(os.getpid(), signal.{name})\n"
            "sys.meta_path.insert(0, Once())\n"
            "from electra_convert import cli\n"
            "sys.exit(cli.process())\n"
        )
        done = run_over_the_old(scene, program)
        assert (done.returncode, done.stderr) == (128 + experiments.STOPPING[name], experiments.STOPPED)
        assert scene.judge("old", new=False) == "kept"

    @pytest.mark.parametrize("name", experiments.STOPPING)
    def test_after_all_is_told_it_changes_nothing(self, scene: Scene, name: str) -> None:
        """Python goes on for a while, unloading; the exit code is that of the work."""
        program = (
            "import os, signal, sys\n"
            "from electra_convert import cli\n"
            "status = cli.process()\n"
            f"os.kill(os.getpid(), signal.{name})\n"
            "sys.exit(status)\n"
        )
        done = run_over_the_old(scene, program)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert scene.judge("old", new=True) == "new"

    def test_during_the_proof(self, proven_scene: Scene, proving_forker: Forker) -> None:
        experiments.signals_at_random(proven_scene, proving_forker, count=12, flags=()).check()

    def test_a_second_one_while_cleaning_ends_at_once_and_the_next_run_cleans(
        self, scene: Scene, forker: Forker
    ) -> None:
        experiments.second_signals(scene, forker, count=8).check()

    def test_one_that_comes_in_the_library_leaves_nothing_either(self, scene: Scene) -> None:
        """Before any call, cleaning included: nothing that was created is known only to the line after it."""

        def interrupt(name: str) -> None:
            raise KeyboardInterrupt

        for before in experiments.BEFORE:
            names = experiments.untouched(scene, before)
            publication = names.index("renameat2" if before == "old" else "rename")
            for wanted in [*range(0, publication, 20), *range(publication, len(names))]:
                scene.reset(before)
                with suppress(KeyboardInterrupt), counted(Calls([scene.checkpoint, scene.room], wanted, interrupt)):
                    convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
                    pytest.fail("not interrupted")
                assert scene.judge(before, new=None) in {"kept", "new"}, (before, wanted, names[wanted])


class TestOtherEnds:
    def test_stdout_that_nobody_reads_or_that_is_full_takes_no_folder_back(self, scene: Scene) -> None:
        experiments.closed_pipes(scene, more=((), ("--json",))).check()

    def test_too_little_memory_is_told_and_leaves_nothing(self, scene: Scene, forker: Forker) -> None:
        experiments.short_of_memory(scene, forker, (0, 128, 512, 1024, 1500, 2048, 3000, 8192)).check()

    def test_memory_that_runs_out_at_any_call_leaves_nothing(self, scene: Scene) -> None:
        def run_out(name: str) -> None:
            raise MemoryError

        for before in experiments.BEFORE:
            for wanted in range(0, len(experiments.untouched(scene, before)), 9):
                scene.reset(before)
                with suppress(MemoryError), counted(Calls([scene.checkpoint, scene.room], wanted, run_out)):
                    convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
                assert scene.judge(before, new=None) in {"kept", "new"}


@pytest.mark.sweep
class TestInFull:
    def test_signals(self, scene: Scene, forker: Forker) -> None:
        experiments.signals_at_calls(scene, forker, count=None).check()
        experiments.signals_at_random(scene, forker, count=500).check()
        experiments.signals_to_whole_processes(scene, count=60).check()
        experiments.second_signals(scene, forker, count=100).check()

    def test_signals_during_the_proof(self, proven_scene: Scene, proving_forker: Forker) -> None:
        experiments.signals_at_random(proven_scene, proving_forker, count=200, flags=()).check()

    def test_memory(self, scene: Scene, forker: Forker) -> None:
        experiments.short_of_memory(scene, forker, range(0, 8192, 32)).check()
