"""One run from its folder to its adapter: what the child process does.

All that is written lies in the run's folder, each file whole or appended line by line, so the
process may be killed anywhere and started again.
"""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import save_adapter
from demo.adapter.passport import Passport, read_passport
from demo.errors import DemoError
from demo.finetune import endings
from demo.finetune.beginning import make_passport, new_adapter
from demo.finetune.checkpoint import load_checkpoint, save_checkpoint
from demo.finetune.estimate import estimate
from demo.finetune.events import Estimated, Evaluated, Event, Finished, Probed, Stage, Why
from demo.finetune.frozen import Frozen
from demo.finetune.judge import judge, small
from demo.finetune.log import EventLog
from demo.finetune.material import Material, read_material
from demo.finetune.probe import Decoding, answers
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.state import Course, State
from demo.finetune.trainer import look, teach
from demo.llama.base import Base
from demo.llama.model import Llama
from demo.settings import Settings
from demo.vision.clip import Tower

log = logging.getLogger(__name__)

SAVE_SECONDS = 10.0  # a killed run loses no more work than this, and the disk is left in peace
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class Tools:
    """What a run works with; whoever starts it builds them."""

    base: Base
    model: Llama
    decoder: Decoding
    slots: int  # of the decoder
    tower: Callable[[], Tower]


Build = Callable[[Settings, int], Tools]  # settings and prompts a layer → tools
Echo = Callable[[Event], None]


def begin(
    folder: RunFolder, request: Request, build: Build
) -> tuple[Tools, Material, Adapter, Passport | None]:
    """Opens the base, reads the data, and makes the adapter before its first step.

    The passport is of the adapter that is to be taught more, None for a new one.

    Raises:
        DemoError: base, data or adapter cannot be used; the message says why.
    """
    more = folder.start.exists()
    prompts = read_passport(folder.start).spec.prompts if more else request.choices.prompts
    tools = build(request.settings, prompts)
    material = read_material(folder, request, tools.base.tokenizer, tools.tower)
    adapter, start = new_adapter(folder, request.choices, tools.base, material)
    return tools, material, adapter.to(tools.model.device), start


def estimate_run(folder: RunFolder, build: Build) -> Estimated:
    """What the run in a folder will need, as `estimate`. Raises DemoError as `begin`."""
    request = folder.request()
    tools, material, adapter, _ = begin(folder, request, build)
    settings = request.choices.settings()
    return estimate(tools.model, adapter, settings, material.course, len(material.judged))


class Interrupted(Exception):
    """The process was asked to end; the run is to be taken up later."""


class Job:
    """One run, in this process.

    Args:
        asked_to_end: whether the process is to end soon; looked at after every event.
        echo: told every event, after it was logged.
    """

    def __init__(
        self, folder: RunFolder, build: Build, asked_to_end: Callable[[], bool], echo: Echo
    ) -> None:
        self._folder, self._build, self._echo = folder, build, echo
        self._asked_to_end = asked_to_end
        self._request = folder.request()
        self._log: EventLog | None = None

    def run(self) -> int:
        """Carries it out, whatever comes, and says so in the folder → exit code of the process."""
        try:
            self._log = EventLog(self._folder.log)
            self._go()
        except Interrupted:
            return self._over("interrupted", endings.RESTARTED)
        except DemoError as error:
            return self._over("failed", str(error))
        except OSError as error:
            log.exception("the run failed")
            full = error.errno in FULL
            return self._over("failed", endings.DISK if full else endings.UNKNOWN, full=full)
        except (MemoryError, RuntimeError) as error:
            log.exception("the run failed")
            return self._over("failed", endings.MEMORY if _memory(error) else endings.UNKNOWN)
        except Exception:
            log.exception("the run failed")
            return self._over("failed", endings.UNKNOWN)
        return 0

    def _go(self) -> None:
        self._enter("preparing")
        request = self._request
        tools, material, adapter, start = begin(self._folder, request, self._build)
        state = State(adapter, request.choices.settings(), material.course)
        if self._folder.checkpoint.exists():
            load_checkpoint(state, self._folder.checkpoint)
        self._enter("running")
        why = self._teach(tools, material, state)
        passport = make_passport(request, tools.base, material, adapter.spec, start)
        self._conclude(tools, material, state, why, passport)

    def _teach(self, tools: Tools, material: Material, state: State) -> Why:
        """Until it is over or its owner stops it; keeps the state on the way."""

        def probe(adapter: Adapter) -> tuple[tuple[str, ...], tuple[str, ...]]:
            said = answers(
                tools.decoder,
                tools.model,
                tools.base.tokenizer,
                adapter,
                material.probes,
                material.course.features,
            )
            return tuple(question.text for question in material.probes), said

        saved = time.monotonic()
        for event in teach(tools.model, state, material.course, probe):
            if isinstance(event, Probed) and not event.step:
                shown = tuple(small(question, material.pictures) for question in material.probes)
                event = replace(event, pictures=shown)
            self._tell(event)
            if isinstance(event, Finished):
                return event.why
            stop, end = self._folder.stop.exists(), self._asked_to_end()
            late = time.monotonic() - saved > SAVE_SECONDS
            if stop or end or late or isinstance(event, Evaluated):
                save_checkpoint(state, self._folder.checkpoint)
                saved = time.monotonic()
            if stop:
                self._look_once_more(tools.model, state, material.course)
                return "stopped"
            if end:
                raise Interrupted
        raise AssertionError("a run ends with Finished")

    def _look_once_more(self, model: Llama, state: State, course: Course) -> None:
        """Stopped between two looks, only one more says whether the weights are the best so far.

        The checkpoint is from before it: a run that is taken up ends as if it had never stopped.
        """
        looked = state.history[-1].step if state.history else 0
        if course.held_out and looked < state.step:
            frozen = Frozen(model, state.adapter.spec.layers, course.held_out)
            self._tell(look(frozen, state, course))
        state.prefer_learned()
        self._tell(Finished("stopped", state.step, state.kept_step))

    def _conclude(
        self, tools: Tools, material: Material, state: State, why: Why, passport: Passport
    ) -> None:
        """Measures, the adapter's file, and the last words."""
        state.settle()
        step, kept = state.step, state.kept_step
        if kept:
            judged = judge(
                tools.model,
                tools.base.tokenizer,
                tools.decoder,
                state.adapter,
                material.judged,
                material.course.features,
                material.asked,
                room=tools.slots,
                pictures=material.pictures,
            )
            passport = replace(passport, metrics=judged.metrics)
            save_adapter(state.adapter, passport, self._folder.adapter)
            self._tell(judged)
        if why == "diverged":
            self._enter("failed", endings.diverged(step, kept))
        elif why == "stopped":
            gained = state.best is not None or not material.course.held_out
            said = endings.stopped(kept, gained=gained) if kept else endings.TOO_EARLY
            self._enter("stopped", said)
        elif not kept:
            self._enter("failed", endings.NOTHING)
        else:
            self._enter("done", endings.done(kept, early=why == "early stop"))
        if why != "stopped":
            self._folder.checkpoint.unlink(missing_ok=True)

    def _over(self, state: str, message: str, *, full: bool = False) -> int:
        try:
            self._enter(state, message)
        except OSError:
            return endings.DISK_FULL
        return endings.DISK_FULL if full else 0

    def _enter(self, state: str, message: str = "") -> None:
        stage = Stage(state, message)
        self._folder.write(stage)
        self._tell(stage)
        if self._asked_to_end() and state in ("preparing", "running"):
            raise Interrupted

    def _tell(self, event: Event) -> None:
        if self._log:
            self._log.append(event)
        self._echo(event)


def _memory(error: Exception) -> bool:
    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(
        error
    )
