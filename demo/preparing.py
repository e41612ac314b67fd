"""Before a run: a visitor's data is checked, and it is tried what teaching it would need.

Both are slow and come as a `Work`. Torch is imported inside its threads alone, long after the page
is served.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.drafts import Draft, Drafts
from demo.errors import InputError, NotReadyError
from demo.finetune.events import Estimated
from demo.finetune.layouts import Layout
from demo.finetune.presets import Choices
from demo.finetune.report import Report
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.trial import Trial
from demo.settings import Settings
from demo.work import Work

if TYPE_CHECKING:
    from demo.finetune.preview import Span
    from demo.models import Language

SHOWN = 4  # examples of the first batch that are shown


@dataclass(frozen=True)
class Checked:
    """What the check found.

    Attributes:
        learned, held_out: rows of each part.
        pictures: different ones.
        batch: the first rows of the first batch, exactly as the model sees them.
    """

    report: Report
    learned: int
    held_out: int
    pictures: int
    batch: tuple[tuple[Span, ...], ...]


class Preparing:
    """Drafts, their check and their estimate.

    Args:
        room: a folder for what is thrown away.
    """

    def __init__(self, settings: Settings, language: Future[Language], room: Path) -> None:
        self._settings, self._language, self._room = settings, language, room
        self.drafts = Drafts(room / "drafts")
        self._one_check, self._one_estimate = threading.Lock(), threading.Lock()
        self._holding, self._held = threading.Lock(), False
        self._trial: Trial | None = None  # what is being tried

    def check(self, visitor: str, choices: Choices, layout: Layout | None = None) -> Work[Draft]:
        """Reads every row of the visitor's draft → the draft, checked.

        Its result raises DataError when nothing can be learned from it.
        """
        draft = self.drafts.get(visitor)
        layout = layout or draft.layout
        if layout is None:
            raise InputError("Please say which column holds the question and which the reply.")

        def do(work: Work[Draft]) -> Draft:
            language = self._wait_for_model(work)
            work.turn(self._one_check, "Waiting for another check")
            try:
                checked = _check(draft, layout, choices, language, work)
            finally:
                self._one_check.release()
            return self.drafts.change(
                visitor, draft, layout=layout, checked=checked, choices=choices
            )

        return Work(do)

    def estimate(self, visitor: str, choices: Choices) -> Work[Estimated]:
        """What teaching the visitor's draft would need, from real steps."""
        draft = self.drafts.get(visitor)
        request = self.request("", "estimate", draft, choices)

        def do(work: Work[Estimated]) -> Estimated:
            work.turn(self._one_estimate, "Waiting for another measurement")
            folder = RunFolder(self._room / secrets.token_hex(8))
            try:
                work.tell("Trying two real steps on this machine")
                folder.create(request, draft.file)
                trial = Trial(folder)
                self._begun(trial)
                work.endable(trial.kill)
                return trial.result()
            finally:
                self._begun(None)
                self._one_estimate.release()
                shutil.rmtree(folder.path, ignore_errors=True)

        return Work(do)

    def hold(self) -> None:
        """What is tried stands still, and so does what begins to be, until `release`."""
        with self._holding:
            self._held = True
            if self._trial:
                self._trial.pause()

    def release(self) -> None:
        """It goes on."""
        with self._holding:
            self._held = False
            if self._trial:
                self._trial.go_on()

    def _begun(self, trial: Trial | None) -> None:
        with self._holding:
            self._trial = trial
            if trial and self._held:
                trial.pause()

    def request(
        self,
        owner: str,
        name: str,
        draft: Draft,
        choices: Choices,
        probes: tuple[str, ...] = (),
    ) -> Request:
        """A run with a draft, to be submitted. Raises InputError as `Request`."""
        if draft.layout is None:
            raise InputError("Please say which column holds the question and which the reply.")
        source = draft.table.name[:100]
        return Request(
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

    def _wait_for_model(self, work: Work) -> Language:
        work.wait(self._language.done, lambda: "Waiting for the model")
        if self._language.exception():
            raise NotReadyError("The model could not be loaded, so nothing can be taught.")
        return self._language.result()


def _check(
    draft: Draft, layout: Layout, choices: Choices, language: Language, work: Work
) -> Checked:
    from demo.finetune.dataset import CheckSettings, check
    from demo.finetune.material import WINDOW, first_batch
    from demo.finetune.preview import preview

    tokenizer = language.base.tokenizer
    settings = CheckSettings(WINDOW, choices.held_out, choices.seed)
    dataset = check(draft.table, layout, tokenizer, settings, progress=work.tell)
    batch = first_batch(dataset, choices)[:SHOWN]
    return Checked(
        dataset.report,
        len(dataset.train),
        len(dataset.held_out),
        len(dataset.pictures),
        tuple(map(tuple, preview(tokenizer, batch))),
    )
