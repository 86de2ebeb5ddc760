"""The pool outlives its workers, shares the processors among them, and ends with the batch however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from batch_runs import ENVIRONMENT, Log, by_name, contents, misbehaving, statuses, write_zoo

from electra_convert.batching import pool as pool
from electra_convert.batching.outcomes import ItemResult
from electra_convert.batching.running import batch, run_zoo
from electra_convert.batching.working import Throttle
from electra_convert.errors import EnvironmentFailure
from electra_convert.zoo.finding import find_zoo

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoo"), 4)


def run(zoo: Path, out: Path, **settings: Any) -> list[ItemResult]:
    return list(batch(zoo, out, **{"jobs": 2, "verify": False, **settings}))


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.02)


DEATHS = {
    "kill -9": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "a crash in compiled code": ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
    "an exit": ("import os; os.write(2, b'no more\\n'); os._exit(3)", "exit code 3"),
}


class TestDeaths:
    @pytest.mark.parametrize("name", DEATHS if os.name == "posix" else ["an exit"])
    def test_a_worker_that_dies_once_loses_nothing(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        death, told = DEATHS[name]
        body = f"""
            if task.item.name == "group0/model00":
                try:
                    open({str(tmp_path / "once")!r}, "x").close()
                except FileExistsError:
                    pass
                else:
                    {death}
        """
        misbehaving(monkeypatch, tmp_path / "site", body)
        log = Log()
        assert set(statuses(run(zoo, tmp_path / "out", watch=log)).values()) == {"converted"}
        assert [event.item for event in log.of("note")] == ["group0/model00"]
        assert told in log.of("note")[0].what
        # It is tried again when no other is at work, since there may be too little memory for two.
        last = [event for event in log.events if event.kind in {"started", "finished"}][-2:]
        assert [(event.kind, event.item) for event in last] == [
            (kind, "group0/model00") for kind in ("started", "finished")
        ]

    @pytest.mark.parametrize("name", DEATHS if os.name == "posix" else ["an exit"])
    def test_an_item_that_kills_its_worker_fails_alone(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        death, told = DEATHS[name]
        misbehaving(monkeypatch, tmp_path / "site", f"if task.item.name == 'group1/model01': {death}")
        done = by_name(run(zoo, tmp_path / "out"))
        failed = done.pop("group1/model01")
        assert {result.status for result in done.values()} == {"converted"}
        assert failed.error is not None
        assert (failed.status, failed.error["exit_code"]) == ("failed", 4)
        assert failed.error["message"] == "the worker process died over this item"
        assert failed.error["facts"]["found"].startswith(told)
        assert failed.error["facts"].get("said") == (["no more"] if name == "an exit" else None)
        assert not (tmp_path / "out/group1").exists()

    @posix
    def test_a_worker_killed_while_it_writes_leaves_nothing(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = """
            if task.item.name == "group1/model01":
                import os, tempfile
                tempfile.mkdtemp(prefix="electra-convert-")
                real = tell
                def tell(kind, done, total, what):
                    if what == "reading back":
                        os.kill(os.getpid(), 9)
                    real(kind, done, total, what)
        """
        misbehaving(monkeypatch, tmp_path / "site", body)
        monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", None)
        assert statuses(run(zoo, tmp_path / "out"))["group1/model01"] == "failed"
        assert not [name for name in contents(tmp_path / "out") if "/." in name or "group1" in name]
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_workers_that_never_come_to_work_end_the_batch(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'no memory\\n'); os._exit(1)")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(EnvironmentFailure, match="no worker process comes to work") as caught:
            run(zoo, tmp_path / "out")
        assert caught.value.facts == {"said": ["no memory"], "found": "exit code 1"}
        assert not (tmp_path / "out").exists()

    def test_without_an_interpreter_to_start_it_is_told(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(EnvironmentFailure, match="no worker process can be started"):
            run(zoo, tmp_path / "out")


class TestThreads:
    def threads(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> set[str]:
        body = "import os; tell('note', 0, 0, ' '.join(os.environ[name] for name in NAMES))"
        misbehaving(monkeypatch, tmp_path / "site", body.replace("NAMES", repr(THREADS)))
        log = Log()
        run(zoo / "group0", tmp_path / f"out{jobs}", jobs=jobs, watch=log)
        return {event.what for event in log.of("note")}

    def test_jobs_share_the_processors(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in THREADS:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(pool, "count_cores", lambda: 8)
        assert self.threads(zoo, tmp_path, monkeypatch, 1) == {"8 8 8"}
        assert self.threads(zoo, tmp_path, monkeypatch, 3) == {"2 2 2"}
        assert self.threads(zoo, tmp_path, monkeypatch, 9) == {"1 1 1"}

    def test_what_the_user_set_lower_stays(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in zip(THREADS, ("2", "16", "many"), strict=True):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(pool, "count_cores", lambda: 8)
        assert self.threads(zoo, tmp_path, monkeypatch, 2) == {"2 4 4"}

    def test_torch_and_numpy_obey(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch")
        if not os.path.exists("/proc/self/task"):
            pytest.skip("nobody tells the threads of a process")
        body = """
            import numpy, os, torch
            torch.ones(500, 500) @ torch.ones(500, 500), numpy.ones((500, 500)) @ numpy.ones((500, 500))
            tell("note", 0, 0, f"{len(os.listdir('/proc/self/task'))} threads")
        """
        for name in THREADS:
            monkeypatch.delenv(name, raising=False)
        misbehaving(monkeypatch, tmp_path / "site", body)
        log = Log()
        run(zoo / "group1", tmp_path / "out", jobs=pool.count_cores(), watch=log)
        # The one that computes, and the one that listens to the batch.
        assert [event.what for event in log.of("note")] == ["2 threads"]


def test_words_that_say_something_new_always_pass() -> None:
    throttle = Throttle(1000.0)
    words = [
        ("started", 0, 0, ""), ("progress", 1, 9, "writing"), ("progress", 2, 9, "writing"), ("note", 0, 0, "x"),
        ("note", 0, 0, "x"), ("progress", 3, 9, "reading back"), ("progress", 4, 9, "reading back"),
        ("progress", 9, 9, "reading back"),
    ]  # fmt: skip
    assert [throttle.passes(*each) for each in words] == [True, True, False, True, True, True, False, True]


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class TestReplacement:
    def pids(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1) -> list[int]:
        misbehaving(monkeypatch, tmp_path / "site", "import os; tell('note', 0, 0, str(os.getpid()))")
        log = Log()
        assert set(statuses(run(zoo, tmp_path / "out", jobs=jobs, watch=log)).values()) == {"converted"}
        return [int(event.what) for event in log.of("note")]

    def test_a_worker_does_one_item_after_another(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert len(set(self.pids(zoo, tmp_path, monkeypatch))) == 1

    def test_no_more_workers_than_jobs(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert len(set(self.pids(zoo, tmp_path, monkeypatch, jobs=2))) == 2

    def test_after_so_many_items_it_is_replaced(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "MOST_ITEMS", 2)
        first, second, third, fourth = self.pids(zoo, tmp_path, monkeypatch)
        assert (first, third) == (second, fourth)
        assert first != third

    def test_one_that_keeps_memory_is_replaced(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not os.path.exists("/proc/self/status"):
            pytest.skip("nobody tells the present memory of a process")
        monkeypatch.setattr(pool, "MOST_MEMORY", 1)
        assert len(set(self.pids(zoo, tmp_path, monkeypatch))) == 4

    def test_none_outlives_the_batch(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not [pid for pid in self.pids(zoo, tmp_path, monkeypatch, jobs=2) if is_alive(pid)]


@posix
class TestStopping:
    def test_a_worker_that_does_not_listen_is_killed_and_cleaned_up_after(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It stands in a long computation, in compiled code that lets no thread of Python run."""
        body = """
            import ctypes, os
            from electra_convert.atomic import staged_folder
            if task.item.name == "group0/model00":
                os.makedirs(os.path.dirname(task.out))
                with staged_folder(task.out, overwrite=True) as staging:
                    (staging / "model.safetensors").write_bytes(b"half")
                    tell("note", 0, 0, str(os.getpid()))
                    ctypes.PyDLL(None).sleep(120)
        """
        misbehaving(monkeypatch, tmp_path / "site", body)

        def interrupt(event: Any) -> None:
            if event.kind == "note":
                assert [path.name for path in (tmp_path / "out/group0").iterdir()]
                raise KeyboardInterrupt

        log = Log(interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(
                run_zoo(
                    find_zoo([zoo], tmp_path / "out", settings={"verify": False}), tmp_path / "out", jobs=1, watch=log
                )
            )
        assert not is_alive(int(log.of("note")[0].what))
        assert not (tmp_path / "out").exists()

    def test_one_that_listens_cleans_up_itself(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It ends where it tells how far it is; what it holds is let go in order."""
        body = f"""
            import time
            if task.item.name == "group0/model00":
                tell("note", 0, 0, "holding")
                try:
                    while True:
                        tell("progress", 0, 1, "")
                        time.sleep(0.01)
                finally:
                    open({str(tmp_path / "cleaned")!r}, "x").close()
        """
        misbehaving(monkeypatch, tmp_path / "site", body)
        results = batch(zoo, tmp_path / "out", jobs=2, verify=False)
        assert next(results).item.name != "group0/model00"
        results.close()
        assert (tmp_path / "cleaned").exists()

    def test_what_is_done_by_then_counts(self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It comes to its end before it comes to asking."""
        monkeypatch.setattr(pool, "GRACE", 60.0)
        body = """
            asking = tell
            def tell(*words):
                try:
                    asking(*words)
                except working.Dropped:
                    pass
        """
        misbehaving(monkeypatch, tmp_path / "site", body)

        def interrupt(event: Any) -> None:
            if event.kind == "started":
                raise KeyboardInterrupt

        log = Log(interrupt)
        results = batch(zoo, tmp_path / "out", jobs=1, verify=False, watch=log)
        first = next(results)
        assert (first.item.name, first.status) == ("group0/model00", "converted")
        with pytest.raises(KeyboardInterrupt):
            list(results)
        assert {event.result.status for event in log.of("finished")[1:] if event.result} == {"dropped"}
        assert set(contents(tmp_path / "out/group0/model00")) >= {"discriminator/conversion.json"}

    def test_ctrl_c_does_not_reach_the_workers(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It goes to the whole process group; what becomes of the items is for the batch to say."""
        body = "import os, signal; os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGHUP)"
        misbehaving(monkeypatch, tmp_path / "site", body)
        assert set(statuses(run(zoo, tmp_path / "out")).values()) == {"converted"}

    @pytest.mark.parametrize("state", ["telling", "computing"])
    def test_they_end_when_the_batch_is_killed(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        work = "tell('progress', 0, 1, ''); time.sleep(0.01)" if state == "telling" else "time.sleep(600)"
        body = f"""
            import os, time
            tell("note", 0, 0, str(os.getpid()))
            while True:
                {work}
        """
        misbehaving(monkeypatch, tmp_path / "site", body)
        program = (
            "import sys; from electra_convert.batching.running import batch\n"
            "tell = lambda event: event.kind == 'note' and print(event.what, flush=True)\n"
            "list(batch(sys.argv[1], sys.argv[2], jobs=2, watch=tell))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(zoo), str(tmp_path / "out")],
            env={**ENVIRONMENT, "PYTHONPATH": os.environ["PYTHONPATH"], "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        pids = [int(process.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, pids))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        wait_until_gone(pids)

    def test_what_a_library_prints_does_not_mix_with_answers(
        self, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        body = "import os; print('hello'); os.write(1, b'from C'); assert os.read(0, 10) == b''"
        misbehaving(monkeypatch, tmp_path / "site", body)
        assert set(statuses(run(zoo, tmp_path / "out")).values()) == {"converted"}
        assert capfd.readouterr() == ("", "")
