"""The folders of runs: all that is known of each, so that any program may look and go on.

What is kept of runs that are over is bounded, for each owner and in total, so that no visitor fills
the disk. In a folder there are

run.json                what was asked for
data/                   the data as its owner gave it
dataset.safetensors     its rows once they are checked, so that nothing reads them again
features.safetensors    of its pictures
start.safetensors       the adapter that is taught more, if it is not a new one
before.jsonl            what that one was taught
taught.jsonl            what the run's own was taught, facts alone
events.jsonl            the log
state.json              the state it is in
stop                    there when its owner asked it to stop
checkpoint.safetensors  the state of training
adapter.safetensors     what came of it
"""

import contextlib
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from demo.atomic_file import remove_unfinished, replace_file
from demo.errors import BusyError, InputError
from demo.finetune.data.columns import Layout
from demo.finetune.data.samples import SAMPLES
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import OVER, RunStage, facts_verdict
from demo.settings import Settings

log = logging.getLogger(__name__)
MOST_PROBES = 3
SUFFIX = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)
ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
TODAY = 86_400.0  # seconds in which an interrupted run waits for its owner
UNREADABLE = (OSError, ValueError, KeyError, TypeError, InputError)


@dataclass(frozen=True)
class RunRequest:
    """What was asked for.

    Attributes:
        owner: who may see and stop it.
        name, description: of the adapter.
        settings: of the program: base, tower, device, threads.
        source: what its owner calls the data.
        layout: which column means what; None where the columns' names say so.
        sample: the name of a data set that comes with the program, "" for an own one.
        probes: questions to be answered as it learns; held-out ones where there are none.
        data, held_out: names of files in data/, set when the folder is made; the second may be "".
        place: a folder with the data, which is read where it lies: the command line's alone.
        pictures: such a folder with the pictures alone.

    Raises:
        InputError: a text is missing or too long.
    """

    owner: str
    name: str
    choices: TrainingOptions
    settings: Settings
    description: str = ""
    source: str = ""
    layout: Layout | None = None
    sample: str = ""
    probes: tuple[str, ...] = ()
    data: str = ""
    held_out: str = ""
    place: str = ""
    pictures: str = ""
    created: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= 100 or len(self.description) > 500:
            raise InputError(
                "The adapter needs a name of at most 100 characters, and a description of at most "
                "500. Please change them."
            )
        if self.sample and self.sample not in SAMPLES:
            raise InputError("There is no such sample. Please choose one of those shown.")
        if len(self.probes) > MOST_PROBES or any(len(text) > 500 for text in self.probes):
            raise InputError(
                f"There is room for {MOST_PROBES} questions of 500 characters. Please shorten them."
            )

    def to_json(self) -> str:
        """Return the text of run.json."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "RunRequest":
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for another text."""
        raw = json.loads(text)
        settings, layout = raw.pop("settings"), raw.pop("layout")
        folders = ("adapters", "cache", "runs")
        settings |= {name: Path(settings[name]) for name in folders if name in settings}
        choices = {"aim": "style"} | raw.pop("choices")  # runs from before aims held rows out
        return cls(
            choices=TrainingOptions(**choices),
            settings=Settings(**settings),
            layout=layout and Layout(**layout),
            probes=tuple(raw.pop("probes")),
            **raw,
        )


class RunFolder:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.dataset = path / "dataset.safetensors"
        self.features = path / "features.safetensors"
        self.start = path / "start.safetensors"
        self.before = path / "before.jsonl"
        self.taught = path / "taught.jsonl"
        self.log = path / "events.jsonl"
        self.stop = path / "stop"
        self.checkpoint = path / "checkpoint.safetensors"
        self.adapter = path / "adapter.safetensors"
        self.errors = path / "errors.log"

    def create(
        self,
        request: RunRequest,
        data: Path | None,
        *,
        held_out: Path | None = None,
        dataset: Path | None = None,
        start: Path | None = None,
    ) -> None:
        """Make the run, waiting; files are copied. `run.json` comes last and makes it a run.

        Args:
            request: what is asked for; the names of its files are set here.
            data: None when the request names a sample; a folder stays where it is.
            held_out: a second table, only to judge by.
            dataset: the rows, where somebody has checked them already.
            start: an adapter to be taught more; what it was taught, if it stands beside it, is
                rehearsed.

        Raises:
            InputError: a file is gone.
            OSError: it cannot be written.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        before = start and start.with_name(self.taught.name)
        before = before if before and before.exists() else None
        copies = ((dataset, self.dataset), (start, self.start), (before, self.before))
        for source, copy in copies:
            if source:
                shutil.copyfile(source, copy)
        called = request.source or request.sample or (data.name if data else "")
        stays = data is not None and data.is_dir()
        request = replace(
            request,
            source=called[:100],
            data="" if stays else self._copy(data, "data"),
            place=str(data.resolve()) if data is not None and stays else "",
            held_out=self._copy(held_out, "held-out"),
        )
        self.write(RunStage("waiting"))
        with replace_file(self.path / "run.json") as unfinished:
            unfinished.write_text(request.to_json(), "utf-8")

    def request(self) -> RunRequest:
        """Read run.json. Raises OSError, ValueError, KeyError or TypeError when it is no run."""
        return RunRequest.from_json((self.path / "run.json").read_text("utf-8"))

    def write(self, stage: RunStage) -> None:
        """Keep the state it is in from now on. Raises OSError when the disk is full."""
        with replace_file(self.path / "state.json") as unfinished:
            unfinished.write_text(json.dumps(asdict(stage)), "utf-8")

    def read(self) -> RunStage:
        """Return the state it was last known to be in."""
        return RunStage(**json.loads((self.path / "state.json").read_text("utf-8")))

    def lock(self) -> FileLock:
        """Return the lock that the process at work holds for as long as it lives."""
        return FileLock(self.path / ".lock")

    def alive(self) -> bool:
        """Tell whether a process is at work in it."""
        try:
            with self.lock().acquire(timeout=0):
                return False
        except Timeout:
            return True

    def ask_to_stop(self, *, keep: bool) -> None:
        """Make the process at work in it stop after its next event."""
        self.stop.write_text("keep" if keep else "discard", "utf-8")

    @property
    def discard_asked(self) -> bool:
        """Whether what it learns is not wanted."""
        return self.stop.exists() and self.stop.read_text("utf-8") == "discard"

    @property
    def resumable(self) -> bool:
        """Whether it is over, as far as its file says, and can be taken up."""
        state = self.read().state
        return state == "interrupted" or (state in OVER and self.checkpoint.exists())

    def drop_data(self) -> None:
        """Remove what it learned from: nobody reads it again."""
        shutil.rmtree(self.data, ignore_errors=True)
        for path in (self.dataset, self.start, self.before, self.features):
            path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what was learned, and the data; that there was a run is remembered."""
        self.drop_data()
        for path in (self.checkpoint, self.adapter, self.taught):
            path.unlink(missing_ok=True)

    def _copy(self, source: Path | None, name: str) -> str:
        if source is None:
            return ""
        if not source.is_file():
            raise InputError("The data is no longer there. Please upload it again.")
        suffix = source.suffix.lower()
        stored = name + (suffix if SUFFIX.fullmatch(suffix) else "")
        shutil.copyfile(source, self.data / stored)
        return stored


EXIT_DISK_FULL = 28  # exit code: nothing more could be written, so whoever started it must know

# How a run may end other than well, in the words its owner reads.
DISK_FULL = (
    "The disk is full or cannot be written to. What was learned up to the last checkpoint is kept: "
    "free some space and resume."
)
OUT_OF_MEMORY = (
    "There was not enough memory. Resume it when less is running, or start again with a smaller "
    "batch or shorter rows."
)
KILLED = (
    "The training was ended from outside, most likely because memory ran out. Resume it when less "
    "is running, or start again with a smaller batch."
)
RESTARTED = "The program was stopped during this training. Resume it to go on."
UNKNOWN_ERROR = (
    "The training failed for a reason we did not foresee. Resume it, and tell whoever runs this if "
    "it fails again: the log says why."
)
NOTHING_LEARNED = (
    "Nothing learned was better than the start on the rows held out, so no adapter is kept. Give "
    "more rows, or start again with a lower learning rate."
)
STOPPED_TOO_EARLY = (
    "Stopped before the first step, so there is no adapter to keep yet. Resume it to go on."
)
DISCARDED = "Stopped. Nothing is kept."


def diverged_message(step: int, kept: int) -> str:
    """Say that the loss was no longer finite after `step` steps; those after `kept` are kept."""
    rest = f"The adapter after {_steps(kept)} is kept." if kept else "Nothing is kept."
    return (
        f"The loss became infinite after step {step}: the learning rate is probably too high. "
        f"Start again with a tenth of it. {rest}"
    )


def stopped_message(
    kept: int, *, gained: bool = True, metrics: Mapping[str, float] | None = None
) -> str:
    """Say that its owner stopped it and keeps what it learned.

    Args:
        kept: steps of what is kept.
        gained: whether it beats the start.
        metrics: of the end.
    """
    rest = "" if gained else " On the rows held out it is no better than the base yet: resume it."
    return f"Stopped. The adapter after {_steps(kept)} is kept.{rest}{facts_verdict(metrics or {})}"


def done_message(kept: int, *, early: bool, metrics: Mapping[str, float] | None = None) -> str:
    """Say that it ended well.

    Args:
        kept: steps of what is kept.
        early: whether it ended before its last step.
        metrics: of the end.
    """
    rest = f" It stopped early: after {_steps(kept)} the rows held out only got worse."
    return "Done." + (rest if early else "") + facts_verdict(metrics or {})


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


@dataclass(frozen=True)
class Quota:
    """How many runs are kept and how many bytes they fill: of one owner, and all together."""

    own_runs: int = 20
    own_bytes: int = 2**30
    all_runs: int = 200
    all_bytes: int = 4 * 2**30

    @classmethod
    def of(cls, megabytes: int) -> "Quota":
        """Return the quota for so much room in all, of which one owner has at most a quarter."""
        return cls(own_bytes=megabytes * 2**18, all_bytes=megabytes * 2**20)


@dataclass(frozen=True)
class FinishedRun:
    """A run as the quota sees it.

    Attributes:
        ended: seconds since the epoch.
        size: bytes.
        fixed: it counts and must stay.
    """

    id: str
    owner: str
    ended: float
    size: int
    fixed: bool


def surplus(runs: Sequence[FinishedRun], quota: Quota) -> list[str]:
    """Return the ids of runs that are too many, the oldest first."""
    gone: list[str] = []
    for owner in dict.fromkeys(run.owner for run in runs):
        own = [run for run in runs if run.owner == owner]
        gone += _oldest(own, quota.own_runs, quota.own_bytes)
    rest = [run for run in runs if run.id not in gone]
    return gone + _oldest(rest, quota.all_runs, quota.all_bytes)


def _oldest(runs: Sequence[FinishedRun], most: int, most_bytes: int) -> list[str]:
    count, size, gone = len(runs), sum(run.size for run in runs), []
    for run in sorted((run for run in runs if not run.fixed), key=lambda run: run.ended):
        if count <= most and size <= most_bytes:
            break
        gone.append(run.id)
        count, size = count - 1, size - run.size
    return gone


class RunStore:
    """All runs of one program, by id.

    Args:
        path: the folder that holds theirs.
        quota: of what is kept.
        on_delete: is told the folder of a run that is about to go.
    """

    def __init__(self, path: Path, quota: Quota, on_delete: Callable[[RunFolder], None]) -> None:
        self._path, self._quota, self._on_delete = path, quota, on_delete

    def new(self) -> RunFolder:
        """Return the folder of a run that is still to be made."""
        return RunFolder(self._path / secrets.token_hex(8))

    def all(self) -> Iterator[tuple[RunFolder, RunRequest]]:
        """Yield every run that can be read."""
        for path in self._path.glob("*/run.json"):
            folder = RunFolder(path.parent)
            try:
                folder.read()
                yield folder, folder.request()
            except UNREADABLE:
                log.warning("left out of the runs: %s", path.parent.name)

    def own(self, owner: str, id: str) -> tuple[RunFolder, RunRequest]:  # noqa: A002
        """Return an owner's run. Raises InputError for another's, which is as good as none."""
        if ID.fullmatch(id):
            folder = RunFolder(self._path / id)
            with contextlib.suppress(*UNREADABLE):
                if (request := folder.request()).owner == owner:
                    return folder, request
        raise InputError("There is no such training of yours. Reload the page to see your own.")

    def clear_up(self) -> None:
        """Remove what was half made or half deleted. Only while nothing is being made."""
        for path in filter(lambda path: ID.fullmatch(path.name), self._path.glob("*")):
            if not (path / "run.json").exists():
                shutil.rmtree(path, ignore_errors=True)
            elif not RunFolder(path).alive():
                remove_unfinished(path, age=0)

    def delete(self, folder: RunFolder) -> None:
        """Remove a run that is over, with all that came of it."""
        self._on_delete(folder)
        (folder.path / "run.json").unlink(missing_ok=True)  # from here on it is no run
        shutil.rmtree(folder.path, ignore_errors=True)

    def tidy(self, busy: Collection[str], owner: str = "", coming: int = 0) -> None:
        """Delete runs until what is left is within the quota.

        Args:
            busy: ids of those that are under way or wait.
            owner: of a run that is about to be made.
            coming: that run's bytes; 0 when there is none.

        Raises:
            BusyError: there is no room for it even so.
        """
        known = {folder.path.name: (folder, request) for folder, request in self.all()}
        runs = [self._finished(folder, request, busy) for folder, request in known.values()]
        if coming:
            runs.append(FinishedRun("", owner, time.time(), coming, fixed=True))
        gone = surplus(runs, self._quota)
        for id in gone:  # noqa: A001
            self.delete(known[id][0])
        left = sum(run.size for run in runs if run.id not in gone)
        if coming and left > self._quota.all_bytes:
            raise BusyError(
                "There is no room for more trainings here. Try again when one of them is done."
            )

    def _finished(
        self, folder: RunFolder, request: RunRequest, busy: Collection[str]
    ) -> FinishedRun:
        ended = (folder.path / "state.json").stat().st_mtime
        cut_off = folder.read().state == "interrupted" and time.time() - ended < TODAY
        fixed = folder.path.name in busy or cut_off or folder.alive()
        return FinishedRun(folder.path.name, request.owner, ended, _size(folder.path), fixed)


def _size(folder: Path) -> int:
    """Return the bytes of all files; one that is replaced meanwhile may be missed."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size
