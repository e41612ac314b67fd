"""A tiny process beside the training: if the program dies, nothing of it stays behind.

The program stops the training while replies are written (SIGSTOP). A stopped process cannot see
that its parent died and would hold its memory for ever. So before anything heavy is loaded the
training forks a guardian that waits for the end of a pipe whose other end the program holds. When
the program is gone, however it went, the guardian wakes the training and asks it to end.
"""

import os
import select
import signal

LOOK_SECONDS = 1.0  # between two looks at whether the training itself is still there


def guard(pipe: int) -> None:
    """Forks the guardian. To be called while there is one thread and little memory.

    Args:
        pipe: a file descriptor that ends when the program does.
    """
    training = os.getpid()
    if os.fork():
        return
    try:
        _wait(pipe, training)
    finally:
        os._exit(0)  # nothing of the parent's is cleaned up a second time


def _wait(pipe: int, training: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the training, not before
    while os.getppid() == training:
        ready, _, _ = select.select([pipe], [], [], LOOK_SECONDS)
        if ready and not os.read(pipe, 1024) and os.getppid() == training:
            # In this order: whatever is pending is delivered when it goes on.
            os.kill(training, signal.SIGTERM)
            os.kill(training, signal.SIGCONT)
            return
