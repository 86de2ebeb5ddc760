"""The disturbances of a run that writes, one function a fault: each disturbs many runs and tallies how they ended."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from output_calls import Action, Calls, counted, failing
from output_rig import ENVIRONMENT, Forker, Scene, Tally, words_of

from electra_convert import convert
from electra_convert.errors import ElectraConvertError

BEFORE = ("absent", "old")
STOPPING = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}
STOPPED = "error: interrupted; nothing half-written is left\n"

# What a refusal for want of space says, after which the number of bytes free stands.
NO_SPACE = re.compile(
    r"error: (no space left|not enough space) for the output\n  where     .*\n  found     \d+ bytes free"
)

# Calls whose failure names the byte.
WITH_BYTES = {"preadv", "pread"}

# `os.path.isdir` and the like take any failure for "no": what then looks wrong is the input.
LOOKS = {"stat", "lstat"}


def untouched(scene: Scene, before: str) -> list[str]:
    """Return the names of the calls of a run that nothing disturbs."""
    scene.reset(before)
    with counted(Calls([scene.checkpoint, scene.room], sys.maxsize, failing(errno.EIO))) as calls:
        convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
    return calls.names


def failing_calls(
    scene: Scene, code: int, *, ever_after: bool = False, only: frozenset[str] | None = None, step: int = 1
) -> Tally:
    """Let the N-th call fail, for every N, until a run passes; with `ever_after` all calls from the N-th on."""
    tally = Tally(f"call N{' and all after it' if ever_after else ''}: {errno.errorcode[code]}")
    for before in BEFORE:
        names = untouched(scene, before)
        for wanted in range(0, len(names), step):
            if only and names[wanted] not in only:
                continue
            case = f"{before}, call {wanted} ({names[wanted]})"
            outcome = _convert_disturbed(scene, before, wanted, failing(code), ever_after=ever_after)
            tally.add(outcome, case)
    return tally


def _convert_disturbed(scene: Scene, before: str, wanted: int, action: Action, *, ever_after: bool = False) -> str:
    scene.reset(before)
    calls = Calls([scene.checkpoint, scene.room], wanted, action, ever_after=ever_after)
    try:
        with counted(calls):
            convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
    except ElectraConvertError as error:
        # Where everything fails, the last failure may be the one that is told.
        if fault := _fault_in_refusal(error, calls.reached or "", scene, with_bytes=not ever_after):
            return fault
        # A disk that is gone for good cannot be cleaned either, nor a rename be taken back.
        return scene.judge(before, new=None if ever_after else False, litter=ever_after)
    except (Exception, KeyboardInterrupt) as error:
        return f"crashed: {error!r}"
    return scene.judge(before, new=True, litter=ever_after)


def _fault_in_refusal(error: ElectraConvertError, call: str, scene: Scene, *, with_bytes: bool) -> str:
    where = str(error.where)
    if error.exit_code != 4 and call not in LOOKS:
        return f"exit code {error.exit_code}: {error}"
    if str(scene.base) not in where or (with_bytes and call in WITH_BYTES and ", byte " not in where):
        return f"names no place: {error}"
    return ""


def kills_at_calls(scene: Scene, forker: Forker, count: int | None, seed: int = 0) -> Tally:
    """Kill a run with SIGKILL right before its N-th call, for every N or a sample; the next run clears what is left."""
    tally = Tally("kill -9 before call N")
    for before, wanted in _sampled_calls(scene, count, seed):
        scene.reset(before)
        status, _, stderr = forker.run(*words_of(scene, before), before=_installing(scene, wanted, signal.SIGKILL))
        tally.add(_judge_killed(scene, before, status, stderr), f"{before}, call {wanted}")
    return tally


def kills_at_random(scene: Scene, forker: Forker, count: int, seed: int = 0) -> Tally:
    """Kill a run with SIGKILL at a random moment."""
    tally = Tally("kill -9 at a random moment")
    for before, delay in _moments(scene, forker, count, seed):
        scene.reset(before)
        pid = forker.start(*words_of(scene, before))
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status, _, stderr = forker.wait()
        tally.add(_judge_killed(scene, before, status, stderr), f"{before}, after {delay:.4f} s")
    return tally


def kills_of_whole_processes(scene: Scene, count: int, seed: int = 0) -> Tally:
    """Kill a run as a user starts it, its start-up included."""
    tally = Tally("kill -9 of a process from its start on")
    generator = random.Random(seed)
    longest = _duration_of_a_process(scene)
    for number in range(count):
        before = BEFORE[number % 2]
        scene.reset(before)
        process = _start(scene, before)
        time.sleep(generator.uniform(0, 1.1 * longest))
        process.kill()
        _, stderr = process.communicate()
        tally.add(_judge_killed(scene, before, process.returncode, stderr), f"{before}, run {number}")
    return tally


def _judge_killed(scene: Scene, before: str, status: int, stderr: str) -> str:
    if status not in {0, -signal.SIGKILL} or "Traceback" in stderr:
        return f"crashed: {status} {stderr}"
    outcome = scene.judge(before, new=True if status == 0 else None, litter=True)
    with suppress(ElectraConvertError):  # where the killed run had published, or what it moved aside is back
        convert(scene.checkpoint, scene.out, verify=False, overwrite=before == "old")
    if scene.litter():
        return f"the next run left {scene.litter()}"
    if scene.state() != "new":
        return f"the next run made OUT {scene.state()}"
    return outcome


def signals_at_calls(scene: Scene, forker: Forker, count: int | None, seed: int = 0) -> Tally:
    """Send SIGINT, SIGTERM or SIGHUP right before the N-th call."""
    tally = Tally("SIGINT, SIGTERM, SIGHUP before call N")
    for number, (before, wanted) in enumerate(_sampled_calls(scene, count, seed)):
        name = [*STOPPING][number % len(STOPPING)]
        scene.reset(before)
        before_run = _installing(scene, wanted, STOPPING[name])
        ended = forker.run(*words_of(scene, before), before=before_run)
        tally.add(_judge_stopped(scene, before, name, *ended, sure=True), f"{before}, call {wanted}, {name}")
    return tally


def signals_at_random(
    scene: Scene, forker: Forker, count: int, seed: int = 0, flags: Sequence[str] = ("--no-verify",)
) -> Tally:
    """Send SIGINT, SIGTERM or SIGHUP at a random moment; without `--no-verify` most of them come during the proof."""
    tally = Tally(f"SIGINT, SIGTERM, SIGHUP at a random moment{'' if flags else ', most during the proof'}")
    for number, (before, delay) in enumerate(_moments(scene, forker, count, seed, flags)):
        name = [*STOPPING][number % len(STOPPING)]
        scene.reset(before)
        pid = forker.start(*_words(scene, before, flags))
        time.sleep(delay)
        sent = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, STOPPING[name])
        ended = forker.wait()
        tally.slowest = max(tally.slowest, time.monotonic() - sent)
        tally.add(_judge_stopped(scene, before, name, *ended), f"{before}, after {delay:.4f} s, {name}")
    return tally


def signals_to_whole_processes(scene: Scene, count: int, seed: int = 0) -> Tally:
    """Send a signal to a run as a user starts it; during its start-up the system's own handling is in place."""
    tally = Tally("SIGINT, SIGTERM, SIGHUP to a process from its start on")
    generator = random.Random(seed)
    longest = _duration_of_a_process(scene)
    for number in range(count):
        before, name = BEFORE[number % 2], [*STOPPING][number % len(STOPPING)]
        scene.reset(before)
        process = _start(scene, before)
        time.sleep(generator.uniform(0, 1.1 * longest))
        sent = time.monotonic()
        process.send_signal(STOPPING[name])
        stdout, stderr = process.communicate()
        tally.slowest = max(tally.slowest, time.monotonic() - sent)
        # Python's own start prints a traceback for SIGINT, before anything of ours runs.
        early = (process.returncode, stdout) == (-STOPPING[name], "")
        outcome = scene.judge(before, new=None) if early else ""
        tally.add(
            outcome or _judge_stopped(scene, before, name, process.returncode, stdout, stderr),
            f"{before}, run {number}, {name}",
        )
    return tally


def second_signals(scene: Scene, forker: Forker, count: int, seed: int = 0) -> Tally:
    """Send SIGTERM before the N-th call and again before each one after it, which is one of cleaning up."""
    tally = Tally("a second signal while cleaning up")
    generator = random.Random(seed)
    for number in range(count):
        before = BEFORE[number % 2]
        calls = untouched(scene, before)
        # From the first file in the folder on, there is something to clean.
        wanted = generator.randrange(calls.index("posix_fallocate"), len(calls) - 12)
        scene.reset(before)
        status, _, stderr = forker.run(
            *words_of(scene, before), before=_installing(scene, wanted, signal.SIGTERM, ever_after=True)
        )
        fault = "" if (status, stderr) == (-signal.SIGTERM, "") else f"crashed: {status} {stderr}"
        outcome = scene.judge(before, new=None, litter=True)
        convert(scene.checkpoint, scene.out, verify=False, overwrite=True)
        tally.add(fault or (f"the next run left {scene.litter()}" if scene.litter() else outcome), f"call {wanted}")
    return tally


def _judge_stopped(
    scene: Scene, before: str, name: str, status: int, stdout: str, stderr: str, sure: bool = False
) -> str:
    stopped = 128 + STOPPING[name]
    if (status, stdout, stderr, sure) == (-STOPPING[name], "", "", False):  # before our own handling was in place
        return scene.judge(before, new=None)
    if status not in ({stopped} if sure else {0, stopped}) or "Traceback" in stderr or "Exception ignored" in stderr:
        return f"crashed: {status} {stderr}"
    if status == stopped and not stderr.endswith(STOPPED):
        return f"says {stderr!r}"
    return scene.judge(before, new=True if status == 0 else None)


def _sampled_calls(scene: Scene, count: int | None, seed: int) -> list[tuple[str, int]]:
    every = [(before, wanted) for before in BEFORE for wanted in range(len(untouched(scene, before)))]
    return every if count is None else random.Random(seed).sample(every, count)


def _moments(
    scene: Scene, forker: Forker, count: int, seed: int, flags: Sequence[str] = ("--no-verify",)
) -> Iterator[tuple[str, float]]:
    durations = []
    for _ in range(3):
        scene.reset("old")
        started = time.monotonic()
        status, _, stderr = forker.run(*_words(scene, "old", flags))
        durations.append(time.monotonic() - started)
        assert (status, scene.state()) == (0, "new"), stderr
    generator = random.Random(seed)
    for number in range(count):
        yield BEFORE[number % 2], generator.uniform(0, 1.1 * min(durations))


def _words(scene: Scene, before: str, flags: Sequence[str]) -> list[object]:
    return ["tf1", scene.checkpoint, scene.out, *flags, *(["--overwrite"] if before == "old" else [])]


def _installing(scene: Scene, wanted: int, number: int, *, ever_after: bool = False) -> str:
    folders = [str(scene.checkpoint), str(scene.room)]
    return f"output_calls.install({folders!r}, {wanted}, {int(number)}, {ever_after})"


def _start(scene: Scene, before: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "electra_convert", *map(str, words_of(scene, before))]
    return subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=deliver_signals
    )


def deliver_signals() -> None:
    """Undo what a test runner in the background ignores: it would stay ignored in a child."""
    for number in STOPPING.values():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _duration_of_a_process(scene: Scene) -> float:
    scene.reset("absent")
    started = time.monotonic()
    _start(scene, "absent").communicate()
    return time.monotonic() - started


# Without the check ahead, and without the reservation, a full disk is met by the writes themselves.
UNCHECKED = "from electra_convert import atomic; atomic._require_space = lambda *given: None"
STAGES = {"ahead": "", "reserving": UNCHECKED, "writing": f"{UNCHECKED}; del os.posix_fallocate"}


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[None]:
    """Mount a file system of this size on a folder; raise PermissionError where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        raise PermissionError(done.stderr)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full_disks(scene: Scene, forker: Forker, pages: Iterable[int]) -> Tally:
    """Leave that many pages of 4096 bytes free on OUT's file system, for each stage at which it can be noticed."""
    tally = Tally("disk full: found ahead, at reservation, at a write")
    pages = list(pages)
    with small_disk(scene.room):
        for before in BEFORE:
            for free in pages:
                for stage, program in STAGES.items():
                    _empty(scene.room)
                    if before == "old":
                        shutil.copytree(scene.base / "old", scene.out)
                    _leave_free(scene.room, 4096 * free)
                    status, _, stderr = forker.run(*words_of(scene, before), before=program)
                    tally.add(_judge_full(scene, before, status, stderr), f"{before}, {free} pages free, {stage}")
        _empty(scene.room)
    return tally


def limited_files(scene: Scene, forker: Forker, limits: Iterable[int]) -> Tally:
    """Allow files of that many bytes (RLIMIT_FSIZE)."""
    tally = Tally("file size limit")
    for before in BEFORE:
        for limit in limits:
            for stage in ("ahead", "writing"):
                scene.reset(before)
                limiting = (
                    f"{STAGES[stage]}\nimport resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)"
                )
                status, _, stderr = forker.run(*words_of(scene, before), before=limiting)
                tally.add(
                    _judge_full(scene, before, status, stderr if limit > 1000 else None), f"{before}, {limit}, {stage}"
                )
    return tally


def _judge_full(scene: Scene, before: str, status: int, stderr: str | None) -> str:
    if status not in {0, 4} or "Traceback" in (stderr or ""):
        return f"crashed: {status} {stderr}"
    # The folder itself may be what does not fit: then there is no file whose size could be told.
    if status == 4 and stderr and not NO_SPACE.search(stderr) and "nothing can be created" not in stderr:
        return f"says {stderr}"
    ballast = scene.room / "ballast"
    ballast.unlink(missing_ok=True)
    if ballast.parent.is_mount():
        state, left = scene.state(), sorted({*os.listdir(scene.room)} - {"out"})
        expected = "new" if status == 0 else before
        return ("new" if status == 0 else "kept") if (state, left) == (expected, []) else f"{state}, left {left}"
    return scene.judge(before, new=status == 0)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _leave_free(folder: Path, nbytes: int) -> None:
    free = shutil.disk_usage(folder).free
    with open(folder / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - nbytes)


SYSTEM_CALLS = ("write", "fsync", "fallocate", "mkdir", "rename", "renameat2", "preadv", "preadv2")


def failing_system_calls(scene: Scene, code: str, step: int = 1, names: Sequence[str] = SYSTEM_CALLS) -> Tally:
    """Let the kernel refuse the N-th call of each kind (strace), whoever makes it: Python, NumPy or the C library."""
    tally = Tally(f"system call N (strace): {code}")
    for before in BEFORE:
        for name in names:
            number = 1
            while True:
                scene.reset(before)
                log = scene.base / "strace"
                tracing = ["strace", "-f", "-o", str(log), "-e", f"inject={name}:error={code}:when={number}"]
                words = [sys.executable, "-m", "electra_convert", *map(str, words_of(scene, before, "-q"))]
                done = subprocess.run([*tracing, "-e", f"trace={name}", *words], env=ENVIRONMENT, capture_output=True)
                if "INJECTED" not in log.read_text(errors="replace"):
                    break
                stderr = done.stderr.decode(errors="replace")
                if done.returncode not in {0, 4} or "Traceback" in stderr:
                    outcome = f"crashed: {done.returncode} {stderr}"
                elif done.returncode == 4 and "  where" not in stderr and name != "write":
                    outcome = f"names no place: {stderr}"
                else:
                    outcome = scene.judge(before, new=done.returncode == 0)
                tally.add(outcome, f"{before}, {name} {number}")
                number += step
    return tally


def _rewrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 50):
        data[at] ^= 0x40
    with open(path, "r+b", buffering=0) as file:
        file.write(data)


def _rewrite_unseen(path: Path) -> None:
    state = path.stat()
    _rewrite(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(len(path.read_bytes())))
    other.replace(path)


def _touch(path: Path) -> None:
    os.utime(path)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


CHANGES: dict[str, Callable[[Path], None]] = {
    "rewritten in place": _rewrite,
    "rewritten in place, its time kept": _rewrite_unseen,
    "replaced": _replace,
    "cut": _cut,
    "removed": Path.unlink,
    "touched": _touch,
}


def changing_sources(scene: Scene, step: int = 1) -> Tally:
    """Change a file of the checkpoint right before the N-th call."""
    tally = Tally("the checkpoint changes during the run")
    kept = scene.base / "kept"
    shutil.copytree(scene.checkpoint, kept, dirs_exist_ok=True)
    for path in kept.iterdir():
        os.utime(path, (10**9, 10**9))
    names = untouched(scene, "absent")
    try:
        for ending in ("data-00000-of-00001", "index"):
            for what, change in CHANGES.items():
                if ending == "index" and change is _rewrite_unseen:
                    continue  # names and places were taken from it when it was opened; only its recorded sum differs
                for wanted in range(0, len(names), step):
                    _restore(kept, scene.checkpoint)
                    file = scene.checkpoint / f"model.ckpt-7.{ending}"
                    outcome = convert_changing(scene, wanted, lambda name, c=change, f=file: c(f))
                    tally.add(outcome, f"{ending} {what} before call {wanted} ({names[wanted]})")
    finally:
        _restore(kept, scene.checkpoint)
    return tally


def convert_changing(scene: Scene, wanted: int, action: Action) -> str:
    scene.reset("absent")
    calls = Calls([scene.checkpoint, scene.room], wanted, action)
    try:
        with counted(calls):
            convert(scene.checkpoint, scene.out, verify=False)
    except ElectraConvertError as error:
        if error.exit_code != 3 or str(scene.checkpoint) not in str(error):
            return f"exit code {error.exit_code}: {error}"
        return scene.judge("absent", new=False)
    except (Exception, KeyboardInterrupt) as error:
        return f"crashed: {error!r}"
    return scene.judge("absent", new=True)


def _restore(kept: Path, folder: Path) -> None:
    _empty(folder)
    shutil.copytree(kept, folder, dirs_exist_ok=True)


def two_writers(scene: Scene, one: Forker, other: Forker, rounds: int, seed: int = 0) -> Tally:
    """Let two runs write other halves to one OUT at once; exactly one is the last, and whole."""
    tally = Tally("two writers on one OUT")
    generator = random.Random(seed)
    for number in range(rounds):
        before = BEFORE[number % 2]
        scene.reset(before)
        one.start(*words_of(scene, before))
        time.sleep(generator.uniform(0, 0.03))
        other.start(*words_of(scene, before, "--export", "generator"))
        ended = [one.wait(), other.wait()]
        tally.add(_judge_two(scene, before, ended), f"{before}, round {number}")
    return tally


def _judge_two(scene: Scene, before: str, ended: list[tuple[int, str, str]]) -> str:
    statuses = [status for status, _, _ in ended]
    if not {*statuses} <= {0, 4} or any("Traceback" in stderr for _, _, stderr in ended):
        return f"crashed: {ended}"
    if before == "absent" and sorted(statuses) != [0, 4]:
        return f"ended with {statuses}"
    if scene.litter() or 0 not in statuses:
        return f"ended with {statuses}, left {scene.litter()}"
    won = {"new": 0, "old": 1}.get(scene.state())
    if won is None or statuses[won] != 0:
        return f"ended with {statuses}, OUT is {scene.state()}"
    return "new"


Making = Callable[[Scene], "tuple[Path, Path]"]


def _linked_room(scene: Scene) -> Path:
    link = scene.base / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(scene.checkpoint, target_is_directory=True)
    return link


def _file(scene: Scene) -> tuple[Path, Path]:
    scene.out.write_text("mine")
    return scene.checkpoint, scene.out


def _link(target: str) -> Making:
    def make(scene: Scene) -> tuple[Path, Path]:
        scene.out.symlink_to(scene.base / target)
        return scene.checkpoint, scene.out

    return make


def _checkpoint_in_out(scene: Scene) -> tuple[Path, Path]:
    shutil.copytree(scene.checkpoint, scene.out / "ckpt")
    return scene.out / "ckpt", scene.out


def _checkpoint_linked_into_out(scene: Scene) -> tuple[Path, Path]:
    scene.out.mkdir()
    for path in scene.checkpoint.iterdir():
        (scene.out / path.name).symlink_to(path)
    return scene.out / "model.ckpt-7", scene.out


def _data_file_of(ending: str) -> Making:
    return lambda scene: (scene.checkpoint, scene.checkpoint / f"model.ckpt-7.{ending}")


def _hard_link(scene: Scene) -> tuple[Path, Path]:
    os.link(scene.checkpoint / "model.ckpt-7.index", scene.out)
    return scene.checkpoint, scene.out


# What stands at OUT, or where OUT stands; and how a run must end.
PLACES: dict[str, tuple[int, Making]] = {
    "a file": (4, _file),
    "a link to a folder": (4, _link("old")),
    "a link to nothing": (4, _link("nowhere")),
    "a link to a file": (4, _link("old/vocab.txt")),
    "a folder whose parent is missing": (4, lambda scene: (scene.checkpoint, scene.room / "no" / "out")),
    "a folder below a file": (4, lambda scene: (scene.checkpoint, scene.room / ".outlier.lock" / "out")),
    "a name of 300 letters": (4, lambda scene: (scene.checkpoint, scene.room / ("o" * 300))),
    "the checkpoint's folder": (2, lambda scene: (scene.checkpoint, scene.checkpoint)),
    "the checkpoint's folder, a prefix given": (2, lambda scene: (scene.checkpoint / "model.ckpt-7", scene.checkpoint)),
    "the checkpoint's folder through a link": (2, lambda scene: (_linked_room(scene), scene.checkpoint)),
    "a link to the checkpoint's folder": (2, lambda scene: (scene.checkpoint, _linked_room(scene))),
    "inside the checkpoint's folder": (2, lambda scene: (scene.checkpoint, scene.checkpoint / "out")),
    "inside through a link": (2, lambda scene: (scene.checkpoint, _linked_room(scene) / "out")),
    "inside by ..": (2, lambda scene: (scene.checkpoint, scene.room / ".." / "ckpt" / "out")),
    "around the checkpoint": (2, _checkpoint_in_out),
    "around links to the checkpoint's files": (2, _checkpoint_linked_into_out),
    "around everything": (2, lambda scene: (scene.checkpoint, scene.base)),
    "the checkpoint's index": (2, _data_file_of("index")),
    "the checkpoint's data": (2, _data_file_of("data-00000-of-00001")),
    "a hard link to the checkpoint's index": (2, _hard_link),
}


def odd_places(scene: Scene) -> Tally:
    """Let OUT be what it must not be; nothing changes anywhere."""
    tally = Tally("OUT a file, a link, misplaced, or the checkpoint itself")
    for name, (code, make) in PLACES.items():
        for overwrite in (False, True):
            scene.reset("absent")
            checkpoint, out = make(scene)
            before = _everything(scene.base)
            try:
                convert(checkpoint, out, verify=False, overwrite=overwrite)
                outcome = "the run claims success"
            except ElectraConvertError as error:
                outcome = "kept" if error.exit_code == code else f"exit code {error.exit_code}: {error}"
            except (Exception, KeyboardInterrupt) as error:
                outcome = f"crashed: {error!r}"
            if _everything(scene.base) != before:
                outcome = "something changed"
            tally.add(outcome, f"OUT is {name}, {overwrite=}")
    return tally


def unwritable_places(scene: Scene) -> Tally:
    """Let OUT be a mount point, or stand on a file system that is mounted read-only."""
    tally = Tally("OUT a mount point, or on a read-only file system")
    for overwrite in (False, True):
        scene.reset("old")
        with small_disk(scene.out):
            tally.add(_refused_with_4(scene.checkpoint, scene.out, overwrite), "mount point")
            subprocess.run(["mount", "-o", "remount,ro", str(scene.out)], check=True)
            tally.add(_refused_with_4(scene.checkpoint, scene.out / "out", overwrite), "read-only")
        if scene.litter() or scene.state() != "old":
            tally.wrong.append(f"left {scene.litter()}")
    return tally


def _refused_with_4(checkpoint: Path, out: Path, overwrite: bool) -> str:
    try:
        convert(checkpoint, out, verify=False, overwrite=overwrite)
    except ElectraConvertError as error:
        return "kept" if error.exit_code == 4 else f"exit code {error.exit_code}: {error}"
    return "the run claims success"


def _everything(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (state.st_mode, state.st_ino, content)
    return found


def closed_pipes(scene: Scene, more: Iterable[Sequence[str]] = ((), ("-v",), ("--json",))) -> Tally:
    """Let whoever reads stdout go before the run has ended; and let stdout be full."""
    tally = Tally("stdout closed or full")
    for before in BEFORE:
        for words in more:
            for what, code in (("closed", 141), ("full", 4)):
                scene.reset(before)
                command = [sys.executable, "-m", "electra_convert", *map(str, words_of(scene, before, *words))]
                with _deaf_stdout(what) as stdout:
                    done = subprocess.run(command, env=ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True)
                crashed = done.returncode != code or "Traceback" in done.stderr or "Exception ignored" in done.stderr
                outcome = f"crashed: {done.returncode} {done.stderr}" if crashed else scene.judge(before, new=True)
                tally.add(outcome, f"{before}, {what}, {words}")
    return tally


@contextmanager
def _deaf_stdout(what: str) -> Iterator[int]:
    reader, writer = (-1, os.open("/dev/full", os.O_WRONLY)) if what == "full" else os.pipe()
    if reader >= 0:
        os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def short_of_memory(scene: Scene, forker: Forker, kilobytes: Iterable[int]) -> Tally:
    """Allow a run that much address space (RLIMIT_AS) above what it has when it starts."""
    tally = Tally("memory limit")
    for spare in kilobytes:
        for before in BEFORE:
            scene.reset(before)
            limiting = (
                "import resource; pages = int(open('/proc/self/statm').read().split()[0]);"
                f"resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {spare} * 1024,) * 2)"
            )
            status, _, stderr = forker.run(*words_of(scene, before), before=limiting)
            told = status == 0 or "error: not enough memory" in stderr
            crashed = status not in {0, 4} or "Traceback" in stderr or not told
            tally.add(f"crashed: {status} {stderr}" if crashed else scene.judge(before, new=status == 0), f"{spare} kB")
    return tally
