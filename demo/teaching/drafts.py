"""What visitors are about to teach: their data between its choice and the start of a run.

Kept on the server for some hours, as long as there is room: a reload finds it again. It is checked,
and tried what teaching it would need. Both are slow and come as a `BackgroundTask`; torch is
imported inside its threads alone, long after the page is served.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.background_task import BackgroundTask, PauseSwitch, ProgressCallback
from demo.errors import DataError, InputError, NotReadyError
from demo.finetune.data.columns import Layout, recognise_table
from demo.finetune.data.dataset import Aim
from demo.finetune.data.examples import TokenSpan
from demo.finetune.data.read import read_table
from demo.finetune.data.report import DatasetReport
from demo.finetune.data.samples import SAMPLES, load_sample
from demo.finetune.data.table import LIMITS, DataLimits, Table
from demo.finetune.runs.process import RunProcess
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import Estimated
from demo.settings import Settings
from demo.teaching.mending import mended
from demo.teaching.typed_table import typed_table

if TYPE_CHECKING:
    from demo.chat.scheduler import Engine
    from demo.llama.tokenizer.tokenizer import Tokenizer

log = logging.getLogger(__name__)
MOST_DRAFTS = 32
MOST_BYTES = 2**30  # of all drafts' files together
KEPT_SECONDS = 6 * 3600.0  # since a draft was last looked at
NO_LAYOUT = "Please say which column holds the question and which the reply."
CHECKS = 2  # at once, so that one slow data set holds nobody else up
CHECK_SECONDS = 60.0  # of one check, in which thousands of photos are opened
TOO_SLOW = (
    "Checking the data takes longer than {seconds:.0f} seconds, the most we take. Please use fewer "
    "rows, or fewer or smaller pictures."
)
SHOWN = 4  # examples of the first batch that are shown


@dataclass(frozen=True)
class DatasetCheck:
    """What the check found.

    Attributes:
        learned, held_out: rows of each part.
        pictures: different ones.
        batch: the first rows of the first batch, exactly as the model sees them.
        aim: what the rows teach: what was asked for, or else a guess.
    """

    report: DatasetReport
    learned: int
    held_out: int
    pictures: int
    batch: tuple[tuple[TokenSpan, ...], ...]
    aim: Aim = "style"


@dataclass(frozen=True)
class Draft:
    """Data that was chosen, and what is known of it.

    Attributes:
        layout: None until a person has said which column means what.
        folder: holds the draft's files and goes with it.
        file: the data itself; None for a sample.
        sample: the name of a data set that comes with the program, "" for an own one.
        checked: what the check found with these choices.
        choices: how it is to be taught.
        dataset: the checked rows, so that no one has to read the data again.
    """

    table: Table
    layout: Layout | None
    folder: Path
    file: Path | None = None
    sample: str = ""
    checked: DatasetCheck | None = None
    choices: TrainingOptions | None = None
    dataset: Path | None = None


class Drafts:
    """One draft a visitor. Safe to use from several threads.

    Args:
        folder: for the files; made when needed.
        limits: the most that is taken of a visitor's data.
    """

    def __init__(self, folder: Path, limits: DataLimits = LIMITS) -> None:
        self._folder, self._limits = folder, limits
        # The oldest go first, by number and by bytes: a cache of cachetools knows one bound alone.
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._used: dict[str, float] = {}  # when a visitor's was last looked at
        self._lock = threading.Lock()

    def sample(self, visitor: str, name: str) -> Draft:
        """Take a data set that comes with the program. Raises InputError for another name."""
        if name not in SAMPLES:
            raise InputError("There is no such sample. Please choose one of those shown.")
        table = load_sample(name)
        layout = recognise_table(table)
        return self._put(visitor, Draft(table, layout, self._new_folder(), sample=name))

    def file(self, visitor: str, path: Path, name: str) -> Draft:
        """Take a file that was uploaded; it is copied, and the copy is read.

        Raises:
            DataError: as `read_table`.
        """
        folder = self._new_folder()
        copy = folder / _file_name(Path(name).suffix)
        try:
            shutil.copyfile(path, copy)
            table = read_table(copy, name, self._limits)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._put(visitor, Draft(table, recognise_table(table), folder, copy))

    def text(self, visitor: str, text: str, name: str) -> Draft:
        """Take a table that was pasted. Raises DataError as `read_table`."""
        data = text.encode("utf-8", "replace")
        table = read_table(data, name, self._limits)
        return self._keep(visitor, table, data, Path(name).suffix, recognise_table(table))

    def rows(
        self,
        visitor: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        name: str,
        pictures: Sequence[Path | None] = (),
    ) -> Draft:
        """Take rows that were typed. Empty ones are left out.

        Args:
            visitor: whose they are.
            columns: what the page calls question, reply and picture.
            rows: cells of the first two.
            name: of the table.
            pictures: of the rows, if any has one.

        Raises:
            DataError: none is left, or one cannot be read.
        """
        folder = self._new_folder()
        try:
            table, layout, file = typed_table(name, columns, rows, pictures, folder, self._limits)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._put(visitor, Draft(table, layout, folder, file))

    def has(self, visitor: str) -> bool:
        """Tell whether there is one."""
        with self._lock:
            return visitor in self._drafts

    def get(self, visitor: str) -> Draft:
        """Return a visitor's draft. Raises InputError when there is none, or none any more."""
        with self._lock:
            draft = self._drafts.get(visitor)
            if draft:
                self._used[visitor] = time.monotonic()
        if draft is None:
            raise InputError("The data is no longer here. Please choose it again.")
        return draft

    def pictures(self, visitor: str) -> bool:
        """Tell whether a visitor's data has pictures; False when there is none."""
        with self._lock:
            draft = self._drafts.get(visitor)
        return bool(draft and draft.table.pictures)

    def rows_to_learn(self, visitor: str) -> int:
        """Return how many usable rows a visitor's data has; 0 while they are not checked."""
        with self._lock:
            draft = self._drafts.get(visitor)
        checked = draft.checked if draft else None
        return checked.learned + checked.held_out if checked else 0

    def change(self, visitor: str, draft: Draft, **changes: Any) -> Draft:
        """Replace fields of a draft and return the new one.

        Raises:
            InputError: another one was chosen meanwhile.
        """
        changed = replace(draft, **changes)
        with self._lock:
            if self._drafts.get(visitor) is not draft:
                raise InputError("Other data was chosen meanwhile.")
            self._drafts[visitor] = changed
        return changed

    def mend(self, visitor: str, changes: Mapping[int, Mapping[str, str]]) -> Draft:
        """Put other cells into rows of a visitor's data, which has then to be checked again.

        Raises:
            DataError: a cell is too long.
            InputError: there is no data, or other was chosen meanwhile.
        """
        draft = self.get(visitor)
        table = mended(draft.table, changes, self._limits)
        return self.change(visitor, draft, table=table, checked=None, dataset=None)

    def drop(self, visitor: str) -> None:
        """Forget a visitor's draft, and its files."""
        with self._lock:
            draft = self._drafts.pop(visitor, None)
        if draft:
            shutil.rmtree(draft.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Drop what nobody has looked at for long."""
        latest = time.monotonic() - KEPT_SECONDS
        with self._lock:
            self._used = {who: at for who, at in self._used.items() if who in self._drafts}
            old = [who for who in self._drafts if self._used.get(who, 0.0) < latest]
        for visitor in old:
            self.drop(visitor)

    def _keep(
        self, visitor: str, table: Table, data: bytes, suffix: str, layout: Layout | None
    ) -> Draft:
        folder = self._new_folder()
        file = folder / _file_name(suffix)
        file.write_bytes(data)
        return self._put(visitor, Draft(table, layout, folder, file))

    def _put(self, visitor: str, draft: Draft) -> Draft:
        self.drop(visitor)
        with self._lock:
            self._drafts[visitor], self._used[visitor] = draft, time.monotonic()
            gone = []
            while len(self._drafts) > MOST_DRAFTS or (
                len(self._drafts) > 1 and sum(map(_size, self._drafts.values())) > MOST_BYTES
            ):
                gone.append(self._drafts.popitem(last=False)[1])
        for old in gone:
            shutil.rmtree(old.folder, ignore_errors=True)
        return draft

    def _new_folder(self) -> Path:
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder


def _file_name(suffix: str) -> str:
    return f"data{suffix[:8] if suffix.isascii() else ''}"


def _size(draft: Draft) -> int:
    try:
        return sum(path.stat().st_size for path in draft.folder.iterdir())
    except FileNotFoundError:  # it goes just now
        return 0


class Preparing:
    """The check and the estimate of drafts: two checks at a time, and one estimate.

    Args:
        settings: of the program.
        language: the base, once it is loaded.
        drafts: what visitors are about to teach.
        pauses: holds an estimate still while replies are written.
        room: a folder for what is thrown away.
    """

    def __init__(
        self,
        settings: Settings,
        language: Future[Engine],
        drafts: Drafts,
        pauses: PauseSwitch,
        room: Path,
    ) -> None:
        self._settings, self._language, self._drafts = settings, language, drafts
        self._pauses, self._room = pauses, room
        self._checks = threading.BoundedSemaphore(CHECKS)
        self._one_estimate = threading.Lock()

    def check(
        self, visitor: str, choices: TrainingOptions, layout: Layout | None = None
    ) -> BackgroundTask[Draft]:
        """Read every row of the visitor's draft; the task's result is the draft, checked.

        Rows that were read before are only split anew. What was read is kept with the draft.

        The result raises DataError when nothing can be learned from it, or it takes too long.
        """
        draft = self._drafts.get(visitor)
        layout = layout or draft.layout
        if layout is None:
            raise InputError(NO_LAYOUT)

        def do(task: BackgroundTask[Draft]) -> Draft:
            task.wait_for(self._language.done, "Waiting for the model")
            if self._language.exception():
                raise NotReadyError("The model could not be loaded, so nothing can be taught.")
            tokenizer = self._language.result().base.tokenizer
            task.acquire(self._checks, "Waiting for another check")
            end = time.monotonic() + CHECK_SECONDS

            def progress(message: str, share: float | None) -> None:
                task.report(message, share)
                if time.monotonic() > end:
                    raise DataError(TOO_SLOW.format(seconds=CHECK_SECONDS))

            try:
                checked, dataset = _check(draft, layout, choices, tokenizer, progress)
            finally:
                self._checks.release()
            return self._drafts.change(
                visitor,
                draft,
                layout=layout,
                checked=checked,
                choices=replace(choices, aim=checked.aim),
                dataset=dataset,
            )

        return BackgroundTask(do)

    def estimate(self, visitor: str, choices: TrainingOptions) -> BackgroundTask[Estimated]:
        """Measure by real steps what teaching the visitor's draft would need."""
        draft = self._drafts.get(visitor)
        request = self.request("", "estimate", draft, choices)

        def do(task: BackgroundTask[Estimated]) -> Estimated:
            task.acquire(self._one_estimate, "Waiting for another measurement")
            folder = RunFolder(self._room / secrets.token_hex(8))
            try:
                task.report("Trying two real steps on this machine")
                folder.create(request, draft.file, dataset=draft.dataset)
                process = RunProcess(folder, "estimate")
                task.on_cancel(process.kill)
                self._pauses.attach(process)
                try:
                    return process.wait_for_estimate()
                finally:
                    self._pauses.detach(process)
            finally:
                self._one_estimate.release()
                shutil.rmtree(folder.path, ignore_errors=True)

        return BackgroundTask(do)

    def request(
        self,
        owner: str,
        name: str,
        draft: Draft,
        choices: TrainingOptions,
        probes: tuple[str, ...] = (),
    ) -> RunRequest:
        """Return the request for a run with a draft. Raises InputError as `RunRequest`."""
        if draft.layout is None:
            raise InputError(NO_LAYOUT)
        source = draft.table.name[:100]
        return RunRequest(
            owner,
            name.strip(),
            choices,
            self._settings,
            f"Taught in the browser on “{source}”.",
            source,
            draft.layout,
            draft.sample,
            probes,
        )


def _check(
    draft: Draft,
    layout: Layout,
    choices: TrainingOptions,
    tokenizer: Tokenizer,
    progress: ProgressCallback,
) -> tuple[DatasetCheck, Path | None]:
    """Return what the check found, and the file that keeps its rows: None if it cannot be kept."""
    from demo.finetune.data.dataset import check
    from demo.finetune.data.dataset_file import load_dataset, save_dataset
    from demo.finetune.data.examples import preview
    from demo.finetune.runs.setup import check_settings, first_batch

    settings = check_settings(choices)
    if draft.dataset and layout == draft.layout:
        path: Path | None = draft.dataset
        files = [draft.file] if draft.file else []
        dataset = load_dataset(draft.dataset, tokenizer, settings, files)
    else:
        dataset = check(draft.table, layout, tokenizer, settings, progress=progress)
        path = draft.folder / f"{secrets.token_hex(4)}.safetensors"
        try:
            save_dataset(path, dataset, tokenizer)
        except OSError:
            log.exception("checked rows could not be kept; a run will read them again")
            path = None
    batch = first_batch(dataset, choices, tokenizer)[:SHOWN]
    found = DatasetCheck(
        dataset.report,
        len(dataset.train),
        len(dataset.held_out),
        len(dataset.pictures),
        tuple(map(tuple, preview(tokenizer, batch))),
        dataset.aim,
    )
    return found, path
