"""The choice of threads follows the times of steps; a table of pretended machines."""

from demo.llama.decoder import LAST_PROBE, ThreadChoice


def run(choice: ThreadChoice, steps: int, seconds: dict[int, float]) -> list[int]:
    """Steps on a machine where a step with n threads takes `seconds[n]`."""
    picked = []
    for _ in range(steps):
        threads = choice.pick(1)
        choice.record(threads, 1, seconds[threads])
        picked.append(threads)
    return picked


QUIET, BUSY = {1: 0.009, 2: 0.005}, {1: 0.010, 2: 0.300}


def test_a_quiet_machine_uses_all_threads():
    assert run(ThreadChoice(2), 500, QUIET).count(1) <= 10


def test_a_busy_neighbour_is_answered_with_one_thread():
    picked = run(ThreadChoice(2), 500, BUSY)
    assert picked.count(2) <= 10
    assert sum(BUSY[n] for n in picked) <= 500 * 0.010 / 0.4  # at least 40 % of one thread's speed


def test_it_comes_back_when_the_neighbour_leaves():
    choice = ThreadChoice(2)
    run(choice, 3 * LAST_PROBE, BUSY)
    assert run(choice, 2 * LAST_PROBE, QUIET)[-1] == 2


def test_it_gives_way_when_a_neighbour_comes():
    choice = ThreadChoice(2)
    run(choice, 300, QUIET)
    picked = run(choice, 100, BUSY)
    assert picked[-1] == 1 and picked.count(2) <= 5


def test_one_thread_is_never_questioned():
    assert set(run(ThreadChoice(1), 50, QUIET)) == {1}
