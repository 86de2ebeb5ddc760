"""On a real Dask scheduler with real workers a batch gives what the pool gives, and outlives a killed worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_runs import ENVIRONMENT, Log, by_name, contents, statuses, write_zoo

from electra_convert.batching.outcomes import BatchEvent, ItemResult
from electra_convert.batching.running import batch
from electra_convert.errors import EnvironmentFailure, MissingExtra, UsageError

distributed = pytest.importorskip("distributed")

# Seconds for a process to come up on a busy machine.
PATIENCE = 60


class Servers:
    """A scheduler, and workers that are started and killed."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._file = base / "scheduler.json"
        self._workers: list[subprocess.Popen[bytes]] = []
        # One death is forgiven, where the default forgives three: each takes a worker with it.
        forgiving = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        self._scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", **forgiving)
        deadline = time.monotonic() + PATIENCE
        while not self._file.exists():
            assert time.monotonic() < deadline
            assert self._scheduler.poll() is None
            time.sleep(0.05)
        with distributed.Client(scheduler_file=str(self._file), timeout=PATIENCE, set_as_default=False) as client:
            self.address = client.scheduler.address

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until the scheduler knows it."""
        count = len(self.known())
        place = self._base / f"worker{len(self._workers)}"
        words = ("--no-nanny", "--nthreads", "1", "--local-directory", str(place))
        worker = self._start("dask_worker", *words, **environment)
        self._workers.append(worker)
        deadline = time.monotonic() + PATIENCE
        while len(self.known()) == count:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return worker

    def known(self) -> list[str]:
        """Return the addresses of the workers."""
        with distributed.Client(self.address, timeout=PATIENCE, set_as_default=False) as client:
            return list(client.nthreads())

    def keep(self, wanted: int) -> None:
        """Have so many workers that are fit to work."""
        for worker in list(self._workers[wanted:]):
            self.kill(worker)
        while len(self._workers) < wanted:
            self.add_worker()

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self._workers.remove(worker)
        deadline = time.monotonic() + PATIENCE
        while len(self.known()) > len(self._workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        for process in (*self._workers, self._scheduler):
            process.kill()
            process.wait()

    def _start(self, program: str, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        with open(self._base / f"{program}.log", "ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", f"distributed.cli.{program}", *words),
                    *("--scheduler-file", str(self._file), "--no-dashboard"),
                ],
                env={**ENVIRONMENT, **environment},
                cwd=self._base,
                stdout=log,
                stderr=log,
            )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("dask"))
    yield servers
    servers.close()


@pytest.fixture
def two(servers: Servers) -> Servers:
    servers.keep(2)
    return servers


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zoo(tmp_path_factory.mktemp("zoo"), 6)


@pytest.fixture(scope="module")
def whole(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give what the pool makes of the zoo."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert set(statuses(list(batch(zoo, out, jobs=2, verify=False))).values()) == {"converted"}
    return contents(out)


def run(zoo: Path, out: Path | str, servers: Servers, **settings: Any) -> list[ItemResult]:
    return list(batch(zoo, out, scheduler=servers.address, verify=False, **settings))


def test_it_gives_what_the_pool_gives_and_resumes(
    zoo: Path, tmp_path: Path, two: Servers, whole: dict[str, bytes]
) -> None:
    log = Log()
    results = run(zoo, tmp_path / "out", two, watch=log)
    assert contents(tmp_path / "out") == whole
    assert [event.result for event in log.of("finished")] == results
    assert {event.item for event in log.of("started")} <= set(by_name(results))
    assert set(statuses(run(zoo, tmp_path / "out", two)).values()) == {"up to date"}


def test_paths_are_those_of_the_batch_not_of_the_workers(
    zoo: Path, tmp_path: Path, two: Servers, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "electra", "num_attention_heads": 1}')
    results = run(Path(os.path.relpath(zoo)), "out", two)
    assert contents(tmp_path / "out") == whole
    assert {result.out for result in results} == {f"out/{name}" for name in by_name(results)}
    (result,) = batch(zoo / "group0/model00", "other", scheduler=two.address, config="config.json", verify=False)
    assert result.halves[0]["config"]["num_attention_heads"]["source"] == "config"


def test_the_item_of_a_killed_worker_is_done_by_another(
    zoo: Path, tmp_path: Path, servers: Servers, whole: dict[str, bytes]
) -> None:
    servers.keep(1)
    site = tmp_path / "site"
    site.mkdir()
    # It stands still within the first item that it gets, with something half-written.
    (site / "sitecustomize.py").write_text(
        f"""
import os, time
import electra_convert.batching.working as working
original = working.work_on
def work_on(task, tell):
    os.makedirs(os.path.dirname(task.out), exist_ok=True)
    def stand_still(kind, done, total, what):
        tell(kind, done, total, what)
        while kind == "progress":
            open({str(tmp_path / "stands")!r}, "w").close()
            tell(kind, done, total, f"still here at {{time.monotonic()}}")
            time.sleep(0.1)
    return original(task, stand_still)
working.work_on = work_on
"""
    )
    victim = servers.add_worker(PYTHONPATH=os.pathsep.join([str(site), ENVIRONMENT["PYTHONPATH"]]))
    killed = []

    def kill(event: BatchEvent) -> None:
        if (tmp_path / "stands").exists() and not killed:
            assert [name for name in contents(tmp_path / "out") if ".tmp-" in name]
            killed.append(victim)
            servers.kill(victim)

    results = run(zoo, tmp_path / "out", servers, watch=Log(kill))
    assert killed
    assert set(statuses(results).values()) == {"converted"}
    assert contents(tmp_path / "out") == whole


def test_an_item_that_kills_its_workers_is_told(zoo: Path, tmp_path: Path, servers: Servers) -> None:
    servers.keep(0)
    (tmp_path / "sitecustomize.py").write_text(
        """
import os
import electra_convert.batching.working as working
working.work_on = lambda task, tell: os.kill(os.getpid(), 9)
"""
    )
    for _ in range(2):
        servers.add_worker(PYTHONPATH=os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]]))
    try:
        (result,) = run(zoo / "group0/model00", tmp_path / "out", servers)
    finally:
        servers.keep(0)
    assert result.error is not None
    assert (result.error["message"], result.error["exit_code"]) == ("the workers died over this item", 4)
    assert result.error["facts"]["found"].startswith("2 workers, the last one tcp://")


def test_an_interrupt_drops_what_is_not_done(zoo: Path, tmp_path: Path, two: Servers) -> None:
    def interrupt(event: BatchEvent) -> None:
        if event.kind == "finished" and event.done == 2:
            raise KeyboardInterrupt

    log = Log(interrupt)
    taken = []
    with pytest.raises(KeyboardInterrupt):
        taken.extend(batch(zoo, tmp_path / "out", scheduler=two.address, verify=False, watch=log))
    told = [event.result for event in log.of("finished") if event.result]
    assert len(by_name(told)) == 6
    assert "dropped" in statuses(told).values()
    # The workers are free again, and nothing is in the way.
    assert set(statuses(run(zoo, tmp_path / "out", two)).values()) <= {"converted", "up to date"}


def test_a_worker_of_another_version_is_refused(zoo: Path, tmp_path: Path, servers: Servers) -> None:
    servers.keep(1)
    package = tmp_path / "site" / "electra_convert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0.0.1"')
    worker = servers.add_worker(PYTHONPATH=str(tmp_path / "site"))
    try:
        with pytest.raises(EnvironmentFailure, match="another version of electra-convert") as caught:
            run(zoo, tmp_path / "out", servers)
        assert len(caught.value.facts["found"]) == 1
    finally:
        servers.kill(worker)
    assert not (tmp_path / "out").exists()


def test_without_workers_the_items_wait(zoo: Path, tmp_path: Path, servers: Servers) -> None:
    servers.keep(0)

    def start(event: BatchEvent) -> None:
        if event.kind == "note" and event.item == "":
            assert "no workers yet" in event.what
            servers.add_worker()

    assert set(statuses(run(zoo / "group0", tmp_path / "out", servers, watch=Log(start))).values()) == {"converted"}


def test_nobody_at_the_address(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("electra_convert.batching.cluster.TIMEOUT", 0.5)
    with pytest.raises(EnvironmentFailure, match="the scheduler cannot be reached") as caught:
        list(batch(zoo, tmp_path / "out", scheduler="tcp://127.0.0.1:1"))
    assert caught.value.where == "tcp://127.0.0.1:1"


@pytest.mark.parametrize("address", ["nowhere://here", "tcp://host:port"])
def test_what_is_no_address(zoo: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="no address of a scheduler"):
        list(batch(zoo, tmp_path / "out", scheduler=address))


def test_without_distributed(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra) as caught:
        list(batch(zoo, tmp_path / "out", scheduler="tcp://127.0.0.1:1"))
    assert caught.value.hint == "pip install 'electra-convert[dask]'"
