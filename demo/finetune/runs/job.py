"""One run from its folder to its adapter: what the child process does.

All that is written lies in the run's folder, each file whole or appended line by line, so the
process may be killed anywhere and started again.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.passport import Passport, read_passport
from demo.errors import DemoError
from demo.finetune.runs.run_folder import (
    DISK_FULL,
    EXIT_DISK_FULL,
    NOTHING_LEARNED,
    OUT_OF_MEMORY,
    RESTARTED,
    STOPPED_TOO_EARLY,
    UNKNOWN_ERROR,
    RunFolder,
    RunRequest,
    diverged_message,
    done_message,
    stopped_message,
)
from demo.finetune.runs.setup import PreparedData, make_passport, new_adapter, prepare_data
from demo.finetune.train.config import FACTS_PROMPTS, SHARED_PROMPTS
from demo.finetune.train.evaluate import (
    MAX_REPLY,
    answers,
    final_evaluation,
    make_recall,
    thumbnail_text,
)
from demo.finetune.train.events import (
    EndReason,
    Evaluated,
    Event,
    EventLog,
    Finished,
    Probed,
    RunStage,
    RunState,
)
from demo.finetune.train.loss import FrozenBase
from demo.finetune.train.state import TrainerState, TrainingSet, load_checkpoint, save_checkpoint
from demo.finetune.train.trainer import evaluate, training_run
from demo.finetune.train.workers import Workers
from demo.llama.base import Base, choose_device, load_llama, open_base
from demo.llama.decoder import Decoder, SlotSizes, TokenDecoder, TorchDecoder
from demo.llama.model import Llama
from demo.model_loading import load_tower
from demo.settings import Settings
from demo.vision.clip import Tower

log = logging.getLogger(__name__)

POSITIONS = 1024  # an example and a reply to a question as long
SLOTS = 3  # questions answered at once
SAVE_SECONDS = 10.0  # a killed run loses no more work than this, and the disk is left in peace
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class Tools:
    """What a run works with; `slots` of its decoder answer at once."""

    base: Base
    model: Llama
    decoder: TokenDecoder
    slots: int
    tower: Callable[[], Tower]


LoadTools = Callable[..., Tools]
Echo = Callable[[Event], None]


def load_tools(settings: Settings, prompts: int, positions: int = POSITIONS) -> Tools:
    """Open the base as the program has it, with the same number of threads in every start.

    Args:
        settings: of the program.
        prompts: a layer, of the adapter that is taught.
        positions: tokens of a text at most, with a reply to it.

    Raises:
        DemoError: base or device cannot be used; the message says why.
    """
    from accelerate import Accelerator  # slow to import, and only needed here

    # Under `accelerate launch` each process gets a device of its own.
    device = Accelerator(cpu=choose_device(settings.device).type == "cpu").device
    # Sums of matrices depend on it, and a resumed run must end in the same bytes.
    threads = max(1, settings.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, device, positions)
    sizes = SlotSizes(SLOTS, positions, prompts, settings.kv_bits)
    on_cpu = device.type == "cpu"
    decoder = Decoder(model, sizes, threads) if on_cpu else TorchDecoder(model, sizes)
    return Tools(base, model, decoder, SLOTS, lambda: load_tower(settings))


def begin(
    folder: RunFolder, request: RunRequest, load: LoadTools = load_tools
) -> tuple[Tools, PreparedData, Adapter, Passport | None]:
    """Open the base, read the data, and make the adapter before its first step.

    The passport is of the adapter that is to be taught more, None for a new one.

    Args:
        folder: of the run.
        request: what is asked for in it.
        load: what it works with, by the settings and the prompts a layer.

    Raises:
        DemoError: base, data or adapter cannot be used; the message says why.
    """
    more = folder.start.exists()
    prompts = read_passport(folder.start).spec.prompts if more else request.choices.prompts
    prompts = max(prompts, FACTS_PROMPTS, SHARED_PROMPTS)  # what is taught is not known yet
    tools = load(request.settings, prompts, *_positions(request.choices.window))
    data = prepare_data(folder, request, tools.base.tokenizer, tools.tower)
    adapter, start = new_adapter(folder, data.choices, tools.base, tools.model, data)
    return tools, data, adapter.to(tools.model.device), start


def _positions(window: int) -> tuple[int, ...]:
    """Return how many tokens a text may have, where the usual room is too small for the window."""
    return () if 2 * window <= POSITIONS else (window + MAX_REPLY,)


class Interrupted(Exception):
    """The process was asked to end; the run is to be taken up later."""


class Job:
    """One run, in this process.

    Args:
        folder: of the run.
        asked_to_end: whether the process is to end soon; called after every event.
        echo: told every event, after it was logged.
        load: as `begin`.
        workers: the processes that share the run; the batch asked for is one process's.
    """

    def __init__(
        self,
        folder: RunFolder,
        asked_to_end: Callable[[], bool],
        echo: Echo,
        load: LoadTools = load_tools,
        workers: Workers | None = None,
    ) -> None:
        self._folder, self._load, self._echo = folder, load, echo
        self._asked_to_end, self._workers = asked_to_end, workers
        self._writes = workers is None or workers.first
        self._request = folder.request()
        if workers:
            choices = self._request.choices
            choices = replace(choices, batch=choices.batch * workers.count)
            self._request = replace(self._request, choices=choices)
        self._log: EventLog | None = None

    def run(self) -> int:
        """Carries it out, whatever comes, and says so in the folder → exit code of the process."""
        try:
            self._log = EventLog(self._folder.log) if self._writes else None
            self._go()
        except Interrupted:
            return self._over("interrupted", RESTARTED)
        except DemoError as error:
            return self._over("failed", str(error))
        except OSError as error:
            log.exception("the run failed")
            full = error.errno in FULL
            return self._over("failed", DISK_FULL if full else UNKNOWN_ERROR, full=full)
        except (MemoryError, RuntimeError) as error:
            log.exception("the run failed")
            return self._over("failed", OUT_OF_MEMORY if _memory(error) else UNKNOWN_ERROR)
        except Exception:
            log.exception("the run failed")
            return self._over("failed", UNKNOWN_ERROR)
        return 0

    def _go(self) -> None:
        self._enter("preparing")
        request = self._request
        if not self._writes:
            self._agreed(None)  # the first process has read the rows and kept them
        tools, data, adapter, start = begin(self._folder, request, self._load)
        if self._writes:
            self._agreed(None)
        state = TrainerState(adapter, data.choices.settings(data.aim), data.training_set)
        if self._folder.checkpoint.exists():
            load_checkpoint(state, self._folder.checkpoint)
        self._enter("running")
        why = self._teach(tools, data, state)
        if not self._writes:
            return
        passport = make_passport(request, tools.base, data, adapter.spec, start)
        self._conclude(tools, data, state, why, passport)

    def _teach(self, tools: Tools, data: PreparedData, state: TrainerState) -> EndReason:
        """Until it is over or its owner stops it; keeps the state on the way."""

        def probe(adapter: Adapter) -> tuple[tuple[str, ...], tuple[str, ...]]:
            said = answers(
                tools.decoder,
                tools.model,
                tools.base.tokenizer,
                adapter,
                data.probes,
                data.training_set.features,
            )
            return tuple(question.text for question in data.probes), said

        saved = time.monotonic()
        ask = probe if self._writes else None
        for event in training_run(tools.model, state, data.training_set, ask, self._workers):
            if isinstance(event, Probed) and not event.step:
                shown = tuple(thumbnail_text(question, data.pictures) for question in data.probes)
                event = replace(event, pictures=shown)
            self._tell(event)
            if isinstance(event, Finished):
                return event.why
            if self._workers and isinstance(event, Probed):  # the first process's alone
                continue
            stop, end = self._agreed((self._folder.stop.exists(), self._asked_to_end()))
            late = time.monotonic() - saved > SAVE_SECONDS
            if self._writes and (stop or end or late or isinstance(event, Evaluated)):
                save_checkpoint(state, self._folder.checkpoint)
                saved = time.monotonic()
            if stop:
                self._evaluate_once_more(tools.model, state, data.training_set)
                return "stopped"
            if end:
                raise Interrupted
        raise AssertionError("a run ends with Finished")

    def _evaluate_once_more(
        self, model: Llama, state: TrainerState, training_set: TrainingSet
    ) -> None:
        """Evaluate once more: stopped between two evaluations, only that says which are the best.

        The checkpoint is from before it: a run that is taken up ends as if it had never stopped.
        """
        evaluated = state.history[-1].step if state.history else 0
        if training_set.held_out and evaluated < state.step:
            frozen = FrozenBase(
                model, state.adapter.spec.reach(model.config), training_set.held_out
            )
            self._tell(evaluate(frozen, state, training_set, self._workers))
        state.prefer_learned()
        self._tell(Finished("stopped", state.step, state.kept_step))

    def _conclude(
        self,
        tools: Tools,
        data: PreparedData,
        state: TrainerState,
        why: EndReason,
        passport: Passport,
    ) -> None:
        """Measures, the adapter's file, and the last words."""
        state.settle()
        step, kept = state.step, state.kept_step
        metrics: dict[str, float] = {}
        if kept:
            tokenizer = tools.base.tokenizer
            recall = make_recall(data.pool, tokenizer) if data.pool else None
            found = final_evaluation(
                tools.model,
                tokenizer,
                tools.decoder,
                state.adapter,
                data.held_out,
                data.training_set.features,
                data.asked,
                room=tools.slots,
                pictures=data.pictures,
                taught=data.aim == "facts",
                otherwise=data.otherwise,
                recall=recall,
            )
            metrics = found.metrics
            passport = replace(passport, metrics=metrics)
            save_adapter(state.adapter, passport, self._folder.adapter)
            self._tell(found)
        if why == "diverged":
            self._enter("failed", diverged_message(step, kept))
        elif why == "stopped":
            gained = state.best is not None or not data.training_set.held_out
            said = (
                stopped_message(kept, gained=gained, metrics=metrics) if kept else STOPPED_TOO_EARLY
            )
            self._enter("stopped", said)
        elif not kept:
            self._enter("failed", NOTHING_LEARNED)
        else:
            self._enter("done", done_message(kept, early=why == "early stop", metrics=metrics))
        if why != "stopped":
            self._folder.checkpoint.unlink(missing_ok=True)

    def _agreed(self, value: Any) -> Any:
        """Return what the first process has found, in every process of the run."""
        return self._workers.told(value) if self._workers else value

    def _over(self, state: RunState, message: str, *, full: bool = False) -> int:
        if not self._writes:
            return int(state == "failed")
        try:
            self._enter(state, message)
        except OSError:
            return EXIT_DISK_FULL
        return EXIT_DISK_FULL if full else 0

    def _enter(self, state: RunState, message: str = "") -> None:
        if not self._writes:
            return
        stage = RunStage(state, message)
        self._folder.write(stage)
        self._tell(stage)
        if self._asked_to_end() and state in ("preparing", "running"):
            raise Interrupted

    def _tell(self, event: Event) -> None:
        if self._log:
            self._log.append(event)
        if self._writes:
            self._echo(event)


def _memory(error: Exception) -> bool:
    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(
        error
    )
