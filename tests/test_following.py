"""The follower does everything, in order, a little behind; what goes wrong in it is the caller's."""

from __future__ import annotations

import threading
import time
from functools import partial
from queue import SimpleQueue

import pytest

from electra_convert.following import AHEAD, BUFFERS, Follower


def test_everything_is_done_in_order_and_elsewhere() -> None:
    done: list[int] = []
    threads = set()

    def act(number: int) -> None:
        threads.add(threading.get_ident())
        done.append(number)

    with Follower() as follower:
        for number in range(1000):
            follower.do(partial(act, number))
        follower.wait()
        assert done == list(range(1000))
    assert threads.isdisjoint({threading.get_ident()})
    assert len(threads) == 1


def test_what_was_given_is_done_before_the_end() -> None:
    done: list[int] = []
    with Follower() as follower:
        follower.do(partial(time.sleep, 0.05))
        follower.do(partial(done.append, 1))
    assert done == [1]


def test_buffers_in_turn_are_free_when_their_turn_comes() -> None:
    """However slow it is: what it looks at is what was handed over."""
    buffers = [[-1] for _ in range(BUFFERS)]
    seen: list[int] = []

    def look(buffer: list[int]) -> None:
        time.sleep(0.002)
        seen.append(buffer[0])

    with Follower() as follower:
        for number in range(50):
            buffer = buffers[number % BUFFERS]
            buffer[0] = number
            follower.do(partial(look, buffer))
        follower.wait()
    assert seen == list(range(50))


def test_no_more_than_a_few_wait() -> None:
    gate = threading.Event()
    given = []
    with Follower() as follower:

        def give() -> None:
            for number in range(AHEAD + 3):
                follower.do(partial(gate.wait, 10))
                given.append(number)

        giver = threading.Thread(target=give)
        giver.start()
        time.sleep(0.1)
        assert len(given) == AHEAD
        gate.set()
        giver.join()
    assert len(given) == AHEAD + 3


def test_a_follower_takes_what_is_offered_until_enough_is_unfinished() -> None:
    threads = []
    gate = threading.Event()

    def note() -> None:
        threads.append(threading.get_ident())

    with Follower() as follower:
        assert follower.offer(note)
        follower.wait()
        for _ in range(AHEAD):
            assert follower.offer(partial(gate.wait, 10))
        assert not follower.offer(note)
        gate.set()
        while not follower.offer(note):
            time.sleep(0.001)
    assert len(threads) == 2
    assert {*threads} - {threading.get_ident()} == {threads[0]}


def test_one_that_may_not_get_ahead_takes_nothing_while_it_is_busy() -> None:
    gate = threading.Event()
    with Follower(ahead=1) as follower:
        assert follower.offer(partial(gate.wait, 10))
        assert not follower.offer(gate.set)
        gate.set()


def test_an_interrupt_while_it_starts_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    original = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        original(thread)
        started.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), Follower():
        pass
    started[0].join(10)
    assert not started[0].is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("waits", [True, False])
def test_one_that_has_no_memory_to_tell_its_end_is_not_waited_for(waits: bool) -> None:
    class NoMemory:
        """A queue that nothing can be put into."""

        def __init__(self, queue: SimpleQueue[BaseException | None]) -> None:
            self.qsize, self.get = queue.qsize, queue.get

        def put(self, end: BaseException | None) -> None:
            raise MemoryError

    def run() -> None:
        with Follower() as follower:
            follower._ends = NoMemory(follower._ends)  # type: ignore[assignment]
            follower.do(partial(time.sleep, 0))
            if waits:
                follower.wait()

    with pytest.raises(MemoryError):
        run()


def failing(kind: type[BaseException]) -> None:
    raise kind("wrong")


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("waits", [True, False])
def test_what_an_action_raises_comes_out_and_no_other_is_done(kind: type[BaseException], waits: bool) -> None:
    done: list[int] = []

    def run() -> None:
        with Follower() as follower:
            follower.do(partial(failing, kind))
            if waits:
                follower.wait()
            follower.do(partial(done.append, 1))

    with pytest.raises(kind, match="wrong"):
        run()
    assert done == []


def test_an_error_of_the_caller_stops_what_was_not_begun() -> None:
    done: list[int] = []
    gate = threading.Event()

    def run() -> None:
        with Follower() as follower:
            follower.do(partial(gate.wait, 10))
            follower.do(partial(done.append, 1))
            threading.Timer(0.05, gate.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert done == []


def test_without_a_thread_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    with Follower() as follower:
        follower.do(partial(done.append, 1))
        assert not follower.offer(partial(done.append, 2))
        assert done == [1]
        follower.wait()
        with pytest.raises(ValueError, match="wrong"):
            follower.do(partial(failing, ValueError))
