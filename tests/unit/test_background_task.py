"""Background work: watched, cancelled, and held still while something urgent runs."""

import threading
import time

import pytest

from demo.background_task import BackgroundTask, Cancelled, PauseSwitch


def test_a_task_is_watched_and_cancelled() -> None:
    ended = threading.Event()

    def do(task: BackgroundTask[int]) -> int:
        task.on_cancel(ended.set)
        task.wait_for(lambda: False, "waiting")
        return 1

    task = BackgroundTask(do)
    assert any(progress.message == "waiting" for progress in task.watch(0.01))
    task.cancel()
    with pytest.raises(Cancelled):
        task.result()
    assert ended.is_set() and BackgroundTask(lambda task: 2).result() == 2


def test_cancelled_before_it_says_how_it_is_ended_at_once() -> None:
    may, ended = threading.Event(), threading.Event()

    def do(task: BackgroundTask[None]) -> None:
        may.wait(30)
        task.on_cancel(ended.set)

    task = BackgroundTask(do)
    task.cancel()
    assert not ended.is_set()
    may.set()
    assert task.result() is None and ended.is_set()


def test_a_task_that_waits_for_a_lock_can_be_cancelled() -> None:
    lock = threading.Lock()
    with lock:
        task: BackgroundTask[None] = BackgroundTask(lambda task: task.acquire(lock, "waiting"))
        task.cancel()
        with pytest.raises(Cancelled):
            task.result()


class Recorder:
    """In place of a training."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def unpause(self) -> None:
        self.calls.append("unpause")


def test_what_is_attached_stands_still_until_the_last_reply_is_over() -> None:
    switch, early, late = PauseSwitch(), Recorder(), Recorder()
    switch.attach(early)
    assert not switch.active and early.calls == []
    with switch.paused():
        with switch.paused():
            switch.attach(late)
            assert switch.active and early.calls == late.calls == ["pause"]
        assert early.calls == ["pause"] and switch.active
    assert early.calls == late.calls == ["pause", "unpause"] and not switch.active


def test_what_is_detached_goes_on_for_good() -> None:
    switch, work = PauseSwitch(), Recorder()
    switch.attach(work)
    with switch.paused():
        switch.detach(work)
        assert work.calls == ["pause", "unpause"]
    with switch.paused():
        assert work.calls[-1] == "unpause"
    switch.detach(work)  # a second time does no harm


def test_an_error_in_a_reply_lets_everything_go_on() -> None:
    switch, work = PauseSwitch(), Recorder()
    switch.attach(work)
    with pytest.raises(RuntimeError), switch.paused():
        raise RuntimeError
    assert work.calls == ["pause", "unpause"] and not switch.active


def test_where_replies_never_end_it_has_its_turns() -> None:
    switch, work = PauseSwitch(longest=0.2, turn=0.1), Recorder()
    switch.attach(work)
    held, free = 0.0, 0.0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        with switch.paused():  # one after the other, without a gap in which anything is done
            before = time.monotonic()
            time.sleep(0.005)
            passed = time.monotonic() - before
            held, free = (held + passed, free) if switch.active else (held, free + passed)
    assert held > free > 0.1
    assert work.calls[-1] == "unpause" and not switch.active


def test_a_short_reply_is_alone() -> None:
    switch, work = PauseSwitch(longest=1.0, turn=0.05), Recorder()
    switch.attach(work)
    for _ in range(3):
        time.sleep(0.1)
        with switch.paused():
            time.sleep(0.4)  # together longer than 1 s, but free in between
            assert switch.active
    assert work.calls == ["pause", "unpause"] * 3
    switch.detach(work)
    with switch.paused():
        time.sleep(0.4)
    assert work.calls == ["pause", "unpause"] * 3


def test_what_comes_during_a_turn_is_not_held_until_it_is_over() -> None:
    switch, early, late = PauseSwitch(longest=0.1, turn=0.3), Recorder(), Recorder()
    switch.attach(early)
    with switch.paused():
        end = time.monotonic() + 5
        while switch.active and time.monotonic() < end:
            time.sleep(0.01)
        switch.attach(late)
        assert late.calls == []
        switch.detach(early)
        while not switch.active and time.monotonic() < end:
            time.sleep(0.01)
        assert late.calls == ["pause"]
