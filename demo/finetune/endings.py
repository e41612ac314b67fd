"""How a run may end other than well, in the words its owner reads, and as exit codes."""

DISK_FULL = 28  # exit code: nothing more could be written, so whoever started it must know

DISK = (
    "The disk is full or cannot be written to. What was learned up to the last checkpoint is kept: "
    "free some space and resume."
)
MEMORY = (
    "There was not enough memory. Resume it when less is running, or start again with a smaller "
    "batch or shorter rows."
)
KILLED = (
    "The training was ended from outside, most likely because memory ran out. Resume it when less "
    "is running, or start again with a smaller batch."
)
RESTARTED = "The program was stopped during this training. Resume it to go on."
UNKNOWN = (
    "The training failed for a reason we did not foresee. Resume it, and tell whoever runs this if "
    "it fails again: the log says why."
)
NOTHING = (
    "Nothing learned was better than the start on the rows held out, so no adapter is kept. Give "
    "more rows, or start again with a lower learning rate."
)
TOO_EARLY = "Stopped before the first step, so there is no adapter to keep yet. Resume it to go on."
DISCARDED = "Stopped. Nothing is kept."


def diverged(step: int, kept: int) -> str:
    """The loss was no longer finite after `step` steps; the weights after `kept` are kept."""
    rest = f"The adapter after {_steps(kept)} is kept." if kept else "Nothing is kept."
    return (
        f"The loss became infinite after step {step}: the learning rate is probably too high. "
        f"Start again with a tenth of it. {rest}"
    )


def stopped(kept: int, *, gained: bool = True) -> str:
    """Its owner stopped it and keeps what it has learned; `gained`: it beats the start."""
    rest = "" if gained else " On the rows held out it is no better than the base yet: resume it."
    return f"Stopped. The adapter after {_steps(kept)} is kept.{rest}"


def done(kept: int, *, early: bool) -> str:
    """It ended well."""
    rest = f" It stopped early: after {_steps(kept)} the rows held out only got worse."
    return "Done." + (rest if early else "")


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"
