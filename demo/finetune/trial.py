"""What a run will need, tried with real steps in a process of its own, which can be paused."""

from demo.errors import InputError
from demo.finetune.child import Child
from demo.finetune.events import Estimated, Stage, from_json
from demo.finetune.run_folder import RunFolder

LOOK_SECONDS = 0.2


class Trial:
    """Begins at once.

    Args:
        folder: of a run that is only tried.
        seconds: after which it is given up; those in which it is paused do not count.
    """

    def __init__(self, folder: RunFolder, seconds: float = 180.0) -> None:
        """Raises OSError when the process cannot be started."""
        self._child, self._left, self._paused = Child(folder, "estimate"), seconds, False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    def pause(self) -> None:
        """It stands still: for whoever writes replies."""
        self._paused = True
        self._child.pause()

    def go_on(self) -> None:
        """After `pause`."""
        self._child.go_on()
        self._paused = False

    def kill(self) -> None:
        """Nobody wants to know any more."""
        self._child.kill()

    def result(self) -> Estimated:
        """What was found, once it is over.

        Raises:
            InputError: data, base or adapter cannot be used, or the memory or the time did not do.
        """
        try:
            while not self._child.over(LOOK_SECONDS):
                self._left -= 0 if self._paused else LOOK_SECONDS
                if self._left <= 0:
                    self._child.kill()
            line = self._child.said()
        finally:
            self._child.kill()
            self._child.wait()
        event = from_json(line) if line else None
        if isinstance(event, Estimated):
            return event
        if isinstance(event, Stage):
            raise InputError(event.message)
        raise InputError(
            "Two steps could not be tried: the memory or the time did not do. Choose a smaller "
            "batch, or fewer layers."
        )
