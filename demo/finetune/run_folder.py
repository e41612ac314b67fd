"""The folder of one run: all that is known of it, so that any program may look and go on.

run.json                what was asked for
data/                   the data as its owner gave it
features.safetensors    of its pictures
start.safetensors       the adapter that is taught more, if it is not a new one
events.jsonl            the log
state.json              the state it is in
stop                    there when its owner asked it to stop
checkpoint.safetensors  the state of training
adapter.safetensors     what came of it
"""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from demo.errors import InputError
from demo.files import replace_file
from demo.finetune.events import OVER, Stage
from demo.finetune.layouts import Layout
from demo.finetune.presets import Choices
from demo.finetune.samples import SAMPLES
from demo.settings import Settings

MOST_PROBES = 3
SUFFIX = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)


@dataclass(frozen=True)
class Request:
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

    Raises:
        InputError: a text is missing or too long.
    """

    owner: str
    name: str
    choices: Choices
    settings: Settings
    description: str = ""
    source: str = ""
    layout: Layout | None = None
    sample: str = ""
    probes: tuple[str, ...] = ()
    data: str = ""
    held_out: str = ""
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
        """The text of run.json."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Raises ValueError, KeyError or TypeError when it is not one."""
        raw = json.loads(text)
        settings, layout = raw.pop("settings"), raw.pop("layout")
        folders = ("adapters", "cache", "runs")
        paths = {name: Path(settings.pop(name)) for name in folders if name in settings}
        return cls(
            choices=Choices(**raw.pop("choices")),
            settings=Settings(**settings, **paths),
            layout=layout and Layout(**layout),
            probes=tuple(raw.pop("probes")),
            **raw,
        )


class RunFolder:
    """Paths and small files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.features = path / "features.safetensors"
        self.start = path / "start.safetensors"
        self.log = path / "events.jsonl"
        self.stop = path / "stop"
        self.checkpoint = path / "checkpoint.safetensors"
        self.adapter = path / "adapter.safetensors"
        self.errors = path / "errors.log"

    def create(
        self,
        request: Request,
        data: Path | None,
        *,
        held_out: Path | None = None,
        start: Path | None = None,
    ) -> None:
        """Makes the run, waiting; files are copied. `run.json` comes last and makes it a run.

        Args:
            data: None when the request names a sample.
            held_out: a second table, only to judge by.
            start: an adapter to be taught more.

        Raises:
            InputError: a file is gone.
            OSError: it cannot be written.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        names = {"data": self._copy(data, "data"), "held_out": self._copy(held_out, "held-out")}
        if start:
            shutil.copyfile(start, self.start)
        source = request.source or request.sample or (data.name if data else "")
        request = replace(request, source=source[:100], **names)
        self.write(Stage("waiting"))
        with replace_file(self.path / "run.json") as unfinished:
            unfinished.write_text(request.to_json(), "utf-8")

    def request(self) -> Request:
        """Raises OSError, ValueError, KeyError or TypeError for a folder that is no run."""
        return Request.from_json((self.path / "run.json").read_text("utf-8"))

    def write(self, stage: Stage) -> None:
        """The state it is in from now on.

        Raises:
            OSError: the disk is full.
        """
        with replace_file(self.path / "state.json") as unfinished:
            unfinished.write_text(json.dumps(asdict(stage)), "utf-8")

    def read(self) -> Stage:
        """The state it was last known to be in."""
        return Stage(**json.loads((self.path / "state.json").read_text("utf-8")))

    def lock(self) -> FileLock:
        """Held by the process that trains, for as long as it lives, however it ends."""
        return FileLock(self.path / ".lock")

    def alive(self) -> bool:
        """Whether a process is at work in it."""
        lock = self.lock()
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def ask_to_stop(self, *, keep: bool) -> None:
        """The process at work in it stops after its next event."""
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
        """What it learned from goes: nobody reads it again."""
        shutil.rmtree(self.data, ignore_errors=True)
        for path in (self.start, self.features):
            path.unlink(missing_ok=True)

    def discard(self) -> None:
        """What was learned and the data go; that there was a run is remembered."""
        self.drop_data()
        for path in (self.checkpoint, self.adapter):
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
