"""A batch gives every item its result, once; each output is what `convert` writes, and nothing else is left."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from batch_runs import ENVIRONMENT, Log, by_name, contents, misbehaving, start_batch, statuses, write_zoo
from conftest import google
from made_up import write_made_up

from electra_convert import convert
from electra_convert.batching.outcomes import BatchEvent, ItemResult
from electra_convert.batching.running import batch, run_zoo
from electra_convert.errors import OutputError, UsageError
from electra_convert.zoo.finding import Item, Zoo, find_zoo

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def run(zoo: Path, out: Path, **settings: Any) -> list[ItemResult]:
    return list(batch(zoo, out, **{"jobs": 2, "verify": False, **settings}))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a zoo of five, one of which is damaged, and one in a folder of its own that is not ELECTRA's."""
    folder = write_zoo(tmp_path_factory.mktemp("zoo"), 4)
    damaged = write_made_up(folder / "damaged" / "model") / "model.ckpt-7.index"
    damaged.write_bytes(damaged.read_bytes()[:-60] + bytes(60))
    return folder


class TestResults:
    def test_every_output_is_what_convert_writes(self, zoo: Path, tmp_path: Path) -> None:
        results = run(zoo, tmp_path / "out")
        for result in results:
            if result.status == "converted":
                alone = tmp_path / "alone" / result.item.name
                alone.parent.mkdir(parents=True, exist_ok=True)
                convert(result.item.source, alone, export="available", verify=False)
        assert statuses(results) == {
            "damaged/model": "failed",
            "group0/model00": "converted",
            "group0/model03": "converted",
            "group1/model01": "converted",
            "group2/model02": "converted",
        }
        # The failed one leaves not even the folder it would have stood in.
        assert contents(tmp_path / "out") == contents(tmp_path / "alone")

    def test_a_result_says_all_that_the_conversion_said(self, zoo: Path, tmp_path: Path) -> None:
        done = by_name(run(zoo, tmp_path / "out"))
        conversion = convert(zoo / "group1/model01", tmp_path / "alone", export="available", verify=False)
        result = done["group1/model01"]
        told = conversion.to_json()
        folders = [{**half, "folder": str(tmp_path / "out/group1/model01/discriminator")} for half in told["halves"]]
        assert [dict(half) for half in result.halves] == folders
        assert result.checkpoint == told["checkpoint"]
        assert result.setup == told["setup"]
        assert list(result.refused) == told["refused"]
        assert result.notices == conversion.notices
        assert result.nbytes == sum(half["bytes"] for half in told["halves"])
        assert result.out == str(tmp_path / "out/group1/model01")
        assert result.peak_memory is None or result.peak_memory > 1 << 20

    def test_a_failure_has_the_exit_code_and_the_words_of_tf1(self, zoo: Path, tmp_path: Path) -> None:
        result = by_name(run(zoo, tmp_path / "out"))["damaged/model"]
        assert result.error is not None
        assert result.error["exit_code"] == 3
        assert result.message.startswith(result.error["message"])
        assert "model.ckpt-7.index" in result.message

    def test_results_and_events_are_plain_data(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        results = run(zoo, tmp_path / "out", watch=log)
        json.dumps([result.to_json() for result in results], allow_nan=False)
        assert b"numpy" not in pickle.dumps([results, log.events])

    def test_a_proof_is_part_of_it(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        (result,) = batch(google("default_small"), tmp_path / "out", jobs=1)
        assert [half["verification"]["state"] for half in result.halves] == ["proven", "proven"]
        assert 0 < result.halves[0]["parity"]["float64"] < 1e-10

    def test_a_bug_in_one_item_is_told_with_its_traceback(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = """
            if task.item.name == "group0/model00":
                def broken(task, tell):
                    raise KeyError("nobody thought of this")
                working._result = broken
        """
        misbehaving(monkeypatch, tmp_path / "site", body)
        done = by_name(run(zoo, tmp_path / "out", jobs=1))
        error = done["group0/model00"].error
        assert error is not None
        assert (error["kind"], error["exit_code"]) == ("Bug", 70)
        assert "Traceback (most recent call last)" in done["group0/model00"].message
        assert "nobody thought of this" in done["group0/model00"].message

    def test_settings_are_those_of_each_item(self, zoo: Path, tmp_path: Path) -> None:
        items = tuple(
            Item(dtype, str(zoo / "group0/model00"), {"export": "generator", "dtype": dtype, "verify": False})
            for dtype in ("float16", "bfloat16")
        )
        results = by_name(list(run_zoo(Zoo(items, ()), tmp_path / "out", jobs=2)))
        assert [results[item.name].halves[0]["dtype"] for item in items] == ["float16", "bfloat16"]

    def test_an_empty_zoo_is_done_at_once(self, tmp_path: Path) -> None:
        assert list(run_zoo(Zoo((), ()), tmp_path / "out")) == []
        assert not (tmp_path / "out").exists()


class TestAgain:
    def test_what_is_done_is_not_done_again_and_what_failed_is_tried(self, zoo: Path, tmp_path: Path) -> None:
        run(zoo, tmp_path / "out")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
        again = statuses(run(zoo, tmp_path / "out"))
        assert again.pop("damaged/model") == "failed"
        assert set(again.values()) == {"up to date"}
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before

    def test_nobody_imports_numpy_or_torch_for_it(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = tmp_path / "good"
        shutil.copytree(zoo, good, ignore=shutil.ignore_patterns("damaged"))
        run(good, tmp_path / "out")
        site = tmp_path / "site"
        site.mkdir()
        heavy = ("numpy", "torch", "ml_dtypes", "safetensors", "tensorflow", "dask", "distributed", "fsspec", "rich")
        (site / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({heavy}))")
        program = (
            "import sys; from electra_convert.batching.running import batch\n"
            "print(*sorted({result.status for result in batch(*sys.argv[1:], jobs=2, verify=False)}), sep=',')"
        )
        path = os.pathsep.join([str(site), ENVIRONMENT["PYTHONPATH"]])
        done = subprocess.run(
            [sys.executable, "-c", program, str(good), str(tmp_path / "out")],
            env={**ENVIRONMENT, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("up to date\n", "")

    def test_without_resuming_all_is_done_again(self, zoo: Path, tmp_path: Path) -> None:
        run(zoo, tmp_path / "out")
        before = contents(tmp_path / "out")
        assert "up to date" not in statuses(run(zoo, tmp_path / "out", resume=False)).values()
        assert contents(tmp_path / "out") == before

    def test_a_folder_of_somebody_else_is_not_replaced(self, zoo: Path, tmp_path: Path) -> None:
        mine = tmp_path / "out/group0/model00/thesis.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
        for resume in (True, False):
            result = by_name(run(zoo, tmp_path / "out", resume=resume))["group0/model00"]
            assert (result.status, result.error["exit_code"]) == ("failed", 4)  # type: ignore[index]
        assert contents(mine.parent) == {"thesis.txt": b"mine"}


class TestDryRun:
    def test_it_plans_every_item_and_writes_nothing(self, zoo: Path, tmp_path: Path) -> None:
        log = Log(lambda event: (tmp_path / "out").exists() and pytest.fail("a folder was made"))
        results = run(zoo, tmp_path / "out", dry_run=True, watch=log)
        assert not (tmp_path / "out").exists()
        done = by_name(results)
        assert {done[name].status for name in done if name != "damaged/model"} == {"planned"}
        assert done["damaged/model"].status == "failed"
        folders = [half["folder"] for half in done["group0/model00"].halves]
        assert folders == [str(tmp_path / "out/group0/model00" / half) for half in ("discriminator", "generator")]

    def test_it_knows_what_is_up_to_date(self, zoo: Path, tmp_path: Path) -> None:
        run(zoo / "group0", tmp_path / "out")
        before = contents(tmp_path / "out")
        shutil.rmtree(tmp_path / "out/model00")
        assert statuses(run(zoo / "group0", tmp_path / "out", dry_run=True)) == {
            "model00": "planned",
            "model03": "up to date",
        }
        assert set(contents(tmp_path / "out")) < set(before)


class TestEvents:
    def test_every_item_is_planned_started_and_finished(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        results = run(zoo, tmp_path / "out", watch=log)
        assert (log.events[0].kind, log.events[0].total) == ("planned", 5)
        assert sorted(event.item for event in log.of("started")) == sorted(by_name(results))
        finished = log.of("finished")
        assert [event.result for event in finished] == results
        assert [(event.done, event.total) for event in finished] == [(number, 5) for number in range(1, 6)]
        times = [event.at for event in log.events]
        assert times == sorted(times)

    def test_progress_is_that_of_convert(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        run(zoo / "group1", tmp_path / "out", watch=log, jobs=1)
        told = [(event.done, event.total, event.what) for event in log.of("progress")]
        assert {what for _, _, what in told} == {"writing", "reading back"}
        assert all(0 <= done <= total for done, total, _ in told)
        assert [done for done, total, what in told if what == "reading back"][-1] == told[-1][1]

    def test_why_an_item_is_done_again_is_noted(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        run(zoo / "group1", tmp_path / "out")
        run(zoo / "group1", tmp_path / "out", watch=log, dtype="float16")
        assert [(event.item, event.what) for event in log.of("note")] == [
            ("model01", "done again: the options differ"),
        ]


class TestRefusals:
    @pytest.mark.parametrize("wrong", [{"jobs": 0}, {"jobs": -1}, {"jobs": 2, "scheduler": "tcp://127.0.0.1:1"}])
    def test_jobs_that_cannot_be(self, zoo: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="that many jobs"):
            batch(zoo, tmp_path / "out", **wrong)

    def test_an_out_that_cannot_be(self, zoo: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for out, words in (("file", "the output is no folder"), ("absent/out", "is not there")):
            with pytest.raises(OutputError, match=words):
                batch(zoo, tmp_path / out)

    def test_an_option_that_is_none_is_refused_before_the_start(self, zoo: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            batch(zoo, tmp_path / "out", dtype="float8")


class TestStopping:
    def stopped(self, zoo: Path, out: Path, log: Log, how: Any) -> list[ItemResult]:
        """Let `how` interrupt the batch after its first result; return what was yielded from then on."""
        results = run_zoo(find_zoo([zoo], out, settings={"verify": False}), out, jobs=1, watch=log)
        taken = [next(results)]
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the first of the rest is what `throw` returns
            taken.append(how(results))
            taken.extend(results)
        return taken

    def test_an_interrupt_that_is_thrown_in_drops_what_is_not_done(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        taken = self.stopped(zoo, tmp_path / "out", log, lambda results: results.throw(KeyboardInterrupt()))
        assert len(by_name(taken)) == 5
        assert {result.status for result in taken[1:]} == {"dropped"}
        assert [event.result for event in log.of("finished")] == taken
        assert_whole(tmp_path / "out", taken)

    def test_an_interrupt_while_it_waits_or_tells_does_too(self, zoo: Path, tmp_path: Path) -> None:
        for number, kind in enumerate(("started", "progress", "finished")):

            def interrupt(event: BatchEvent, kind: str = kind, seen: list[str] = []) -> None:  # noqa: B006
                if event.kind == kind:
                    seen.append(event.item)
                    if len(seen) == 3:
                        raise KeyboardInterrupt

            out = tmp_path / f"out{number}"
            log = Log(interrupt)
            with pytest.raises(KeyboardInterrupt):
                list(run_zoo(find_zoo([zoo], out, settings={"verify": False}), out, jobs=2, watch=log))
            taken = [event.result for event in log.of("finished") if event.result]
            assert len(by_name(taken)) == 5
            assert "dropped" in statuses(taken).values()
            assert_whole(out, taken)

    def test_left_early_it_stops_and_tells_who_watches(self, zoo: Path, tmp_path: Path) -> None:
        log = Log()
        results = run_zoo(
            find_zoo([zoo], tmp_path / "out", settings={"verify": False}), tmp_path / "out", jobs=2, watch=log
        )
        first = next(results)
        results.close()
        told = [event.result for event in log.of("finished") if event.result]
        assert told[0] == first
        assert len(by_name(told)) == 5
        assert_whole(tmp_path / "out", told)

    def test_fail_fast_drops_the_rest(self, zoo: Path, tmp_path: Path) -> None:
        results = run(zoo, tmp_path / "out", jobs=1, fail_fast=True)
        assert statuses(results) == {
            "damaged/model": "failed",
            **dict.fromkeys(["group0/model00", "group0/model03", "group1/model01", "group2/model02"], "dropped"),
        }
        assert not (tmp_path / "out").exists()

    @posix
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
    def test_a_signal_to_the_whole_group_leaves_nothing_half_done(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """As Ctrl-C in a terminal, or a service that is stopped, sends it: to the workers too."""
        program = (
            "import sys; from electra_convert import cli; sys.argv[1:1] = ['batch', '--no-verify', '--jobs', '2']\n"
            "sys.exit(cli.main())"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(zoo), str(tmp_path / "out")],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while not list((tmp_path / "out").rglob("conversion.json")) and process.poll() is None:
            pass
        os.killpg(process.pid, getattr(signal, name))
        said, _ = process.communicate(timeout=60)
        assert process.returncode in {1, 128 + getattr(signal, name)}, said
        assert not list((tmp_path / "out").rglob(".*"))


def assert_whole(out: Path, results: list[ItemResult]) -> None:
    """Check that OUT has the folders of what was converted, whole, and nothing else but what was done unheard."""
    for path in out.rglob("*"):
        assert not path.name.startswith("."), path
    done = Zoo(tuple(result.item for result in results if result.status == "converted"), ())
    assert set(statuses(list(run_zoo(done, out, jobs=1))).values()) <= {"up to date"}


@posix
class TestKills:
    """kill -9 of the batch and all its workers at any moment, then the same again: as if nothing had happened."""

    def killed(self, base: Path, count: int, moments: int) -> None:
        zoo = write_zoo(base / "zoo", count)
        done = start_batch(zoo, base / "whole")
        said, _ = done.communicate(timeout=120)
        assert said.count("yielded") == count
        whole = contents(base / "whole")
        for number in range(moments):
            out = base / f"out{number}"
            process = start_batch(zoo, out)
            assert process.stdout
            # From before the first word of a run to after its last, and some time within what comes between two.
            for _ in range(number * 3 * count // moments):
                process.stdout.readline()
            time.sleep(random.Random(number).uniform(0, 0.15))
            if number % 3 == 2:
                os.kill(process.pid, signal.SIGKILL)  # its workers end by themselves
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
            again = start_batch(zoo, out)
            said, _ = again.communicate(timeout=120)
            assert again.returncode == 0, said
            assert contents(out) == whole, (number, said)
            shutil.rmtree(out)

    def test_at_some_moments(self, tmp_path: Path) -> None:
        self.killed(tmp_path, count=4, moments=4)

    @pytest.mark.slow
    def test_at_fifty_moments(self, tmp_path: Path) -> None:
        self.killed(tmp_path, count=12, moments=50)
