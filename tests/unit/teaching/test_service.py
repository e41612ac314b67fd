"""Teaching for visitors: their data, their runs, and that a reply goes first."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from demo.adapter.library import owner_of, set_owner
from demo.background_task import PauseSwitch
from demo.errors import BusyError, DataError, InputError, NotReadyError
from demo.finetune.data import dataset, dataset_file
from demo.finetune.data.columns import Layout, recognise_table
from demo.finetune.runs import queue as runs
from demo.finetune.runs.run_folder import RunFolder
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import EventLog, RunStage, Started, Step
from demo.settings import Settings
from demo.teaching.drafts import MOST_DRAFTS, Drafts
from demo.teaching.service import PUBLISHED, Teaching
from tests.processes import eventually

ROWS = [[word, word[::-1]] for word in ("sun", "moon", "star", "tree")]
CHOICES = TrainingOptions(steps=2, batch=2)


class Stand:
    """In place of a child process: it stands there until it is told to end."""

    def __init__(self, folder: RunFolder, command: str) -> None:
        self.folder, self._over = folder, threading.Event()
        self.signals: list[str] = []
        folder.write(RunStage("running"))
        made.append(self)

    def pause(self) -> None:
        self.signals.append("pause")

    def unpause(self) -> None:
        self.signals.append("unpause")

    def kill(self) -> None:
        self._over.set()

    def end(self, seconds: float = 0) -> None:
        self._over.set()

    def wait(self) -> int:
        self._over.wait(30)
        return 0


made: list[Stand] = []


@pytest.fixture
def pause() -> PauseSwitch:
    return PauseSwitch()


@pytest.fixture
def language() -> Future:
    return Future()


@pytest.fixture
def teaching(
    language: Future, pause: PauseSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Teaching]:
    monkeypatch.setattr(runs, "RunProcess", Stand)
    made.clear()
    settings = Settings(runs=tmp_path / "runs", adapters=tmp_path / "adapters", waiting_runs=1)
    subject = Teaching(settings, language, pause)
    subject.start()
    yield subject
    subject.close()


def begun(teaching: Teaching, owner: str = "me", visitor: str = "v") -> str:
    drafts = teaching.drafts
    draft = drafts.rows(visitor, ("question", "answer"), ROWS, "typed")
    drafts.change(visitor, draft, checked=SimpleNamespace())
    return teaching.begin(owner, visitor, CHOICES, "mirror")


def test_an_adapter_from_elsewhere_is_taught_more(teaching: Teaching, tmp_path: Path) -> None:
    drafts, start = teaching.drafts, tmp_path / "before.safetensors"
    draft = drafts.rows("v", ("question", "answer"), ROWS, "typed")
    drafts.change("v", draft, checked=SimpleNamespace())
    with pytest.raises(InputError, match="is no longer there"):
        teaching.begin("me", "v", CHOICES, "mirror", start=start)
    start.write_bytes(b"what it learned before")
    run = teaching.begin("me", "v", CHOICES, "mirror", start=start)
    folder = RunFolder(tmp_path / "runs" / run)
    assert folder.start.read_bytes() == b"what it learned before"


def test_a_draft_outlives_a_visit_and_is_swept_when_nobody_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = Drafts(tmp_path)
    kept = drafts.text("v", "question,answer\na,b\n", "pasted")
    drafts.sweep()
    assert drafts.get("v") is kept
    monkeypatch.setattr("demo.teaching.drafts.KEPT_SECONDS", -1.0)
    drafts.sweep()
    assert not drafts.has("v") and not kept.folder.exists()


@pytest.mark.parametrize("columns", [("Question", "Reply"), ("问题", "回答")])
@pytest.mark.parametrize(
    "rows",
    [ROWS, [["", "b"], ["a", None]], [["what?", "true"]], [["a"], ["b"]], [["a"], ["b", "c"]]],
)
def test_typed_rows_have_the_layout_that_would_be_recognised(
    tmp_path: Path, columns: tuple[str, str], rows: list[list[str]]
) -> None:
    draft = Drafts(tmp_path).rows("v", columns, rows, "typed")
    assert draft.layout == recognise_table(draft.table)


def test_a_draft_belongs_to_its_visitor_and_goes_with_them(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    draft = drafts.rows("v", ("question", "answer"), [*ROWS, ["", None]], "typed")
    assert len(draft.table.rows) == 4 and draft.layout and draft.file.exists()
    with pytest.raises(InputError, match="no longer here"):
        drafts.get("w")
    other = drafts.text("v", "a\tb\n1\t2\n", "pasted")
    assert other.layout is None and not draft.file.exists()
    with pytest.raises(InputError, match="chosen meanwhile"):
        drafts.change("v", draft)
    with pytest.raises(DataError):
        drafts.rows("v", ("question", "answer"), [["", None]], "typed")
    with pytest.raises(InputError, match="no such sample"):
        drafts.sample("v", "../x")
    assert drafts.get("v") is other  # what is refused changes nothing
    drafts.drop("v")
    assert not other.file.exists()
    for number in range(MOST_DRAFTS + 1):
        drafts.text(str(number), "question,answer\na,b\n", "pasted")
    with pytest.raises(InputError):
        drafts.get("0")
    assert len(list(tmp_path.iterdir())) == MOST_DRAFTS


def test_an_uploaded_zip_is_read_from_its_copy(tmp_path: Path) -> None:
    upload = tmp_path / "pictures.zip"
    with ZipFile(upload, "w") as archive:
        archive.writestr("data.csv", "image,question,answer\na.png,q,b\n")
        archive.writestr("a.png", b"picture")
    drafts = Drafts(tmp_path / "drafts")
    draft = drafts.file("v", upload, "mine.zip")
    upload.unlink()
    assert draft.table.pictures["a.png"] == b"picture" and draft.table.name == "mine.zip"
    upload.write_bytes(b"no table")
    with pytest.raises(DataError):
        drafts.file("v", upload, "mine.zip")
    assert drafts.get("v") is draft and len(list((tmp_path / "drafts").iterdir())) == 1


@pytest.mark.matrix("D10")
def test_two_clicks_are_one_run_and_others_wait(teaching: Teaching) -> None:
    first = begun(teaching)
    with pytest.raises(BusyError, match="under way"):
        begun(teaching)
    eventually(lambda: made)  # it no longer waits
    second = begun(teaching, "you", "w")
    assert [run.id for run in teaching.runs.of("me")] == [first]
    assert teaching.runs.get("you", second).place == 1
    with pytest.raises(InputError, match="no such training"):
        teaching.runs.history("me", second)
    with pytest.raises(BusyError, match="wait already"):
        begun(teaching, "them", "x")


def test_nothing_starts_unchecked_or_nameless(teaching: Teaching) -> None:
    drafts = teaching.drafts
    draft = drafts.rows("v", ("question", "answer"), ROWS, "typed")
    with pytest.raises(InputError, match="checked first"):
        teaching.begin("me", "v", CHOICES, "mirror")
    drafts.change("v", draft, checked=SimpleNamespace())
    with pytest.raises(InputError, match="needs a name"):
        teaching.begin("me", "v", CHOICES, " ")
    with pytest.raises(InputError, match="room for 3 questions"):
        teaching.begin("me", "v", CHOICES, "mirror", probes=("a",) * 4)
    assert teaching.runs.of("me") == ()


def test_a_run_stands_still_while_any_reply_is_written(
    teaching: Teaching, pause: PauseSwitch
) -> None:
    begun(teaching)
    eventually(lambda: made)
    with pause.paused():
        with pause.paused():
            eventually(lambda: made[0].signals)  # it is attached a moment after it was made
            assert made[0].signals == ["pause"]
        assert made[0].signals == ["pause"]
    assert made[0].signals == ["pause", "unpause"]


def test_a_history_is_read_on(teaching: Teaching) -> None:
    run = begun(teaching)
    eventually(lambda: made)
    log = EventLog(made[0].folder.log)
    log.append(Started(9, 2, 4, 0))
    assert teaching.runs.history("me", run).done == 0
    log.append(Step(1, 1.0, 5e-3, (0.0,), 1.0))
    assert teaching.runs.history("me", run).seconds_left == 1.0


def test_a_folder_of_runs_belongs_to_one_program(teaching: Teaching, tmp_path: Path) -> None:
    other = Teaching(Settings(runs=tmp_path / "runs"), Future(), PauseSwitch())
    other.start()
    assert other.off == runs.TAKEN
    with pytest.raises(InputError, match="same folder"):
        other.begin("me", "v", CHOICES, "mirror")
    other.close()
    off = Teaching(Settings(runs=tmp_path / "runs", training=False), Future(), PauseSwitch())
    off.start()
    assert "switched off" in off.off and off.runs.of("me") == ()
    off.close()


def test_an_adapter_is_its_makers(teaching: Teaching, tmp_path: Path, monkeypatch) -> None:
    import demo.adapter.library

    def publish(adapter: Path, folder: Path, name: str, *, owner: str, again: bool) -> str:
        folder.mkdir(exist_ok=True)
        assert owner == "me" and again == (folder / f"{name}.safetensors").exists()
        (folder / f"{name}.safetensors").write_bytes(adapter.read_bytes())
        return name

    monkeypatch.setattr(demo.adapter.library, "publish", publish)
    run = begun(teaching)
    with pytest.raises(InputError, match="no adapter"):
        teaching.publish("me", run)
    weights = tmp_path / "runs" / run / "adapter.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(InputError, match="no such training"):
        teaching.publish("you", run)
    assert teaching.published(teaching.runs.get("me", run)) == ""
    assert teaching.publish("me", run) == teaching.publish("me", run) == "mirror"
    assert teaching.published(teaching.runs.get("me", run)) == "mirror"
    weights.write_bytes(b"more")  # the run was taken up
    os.utime(weights, (time.time() + 9,) * 2)
    assert teaching.publish("me", run) == "mirror"
    assert (tmp_path / "adapters" / "mirror.safetensors").read_bytes() == b"more"


def test_a_deleted_run_takes_its_adapter_along(teaching: Teaching, tmp_path: Path) -> None:
    run = begun(teaching)
    eventually(lambda: made)
    folder, adapters = tmp_path / "runs" / run, tmp_path / "adapters"
    (folder / PUBLISHED).write_text("mirror")
    set_owner(adapters, "mirror", "me")
    for name in ("mirror", "shapes"):
        (adapters / f"{name}.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match="Stop it first"):
        teaching.runs.delete("me", run)
    made[0].folder.write(RunStage("done"))
    made[0].kill()
    eventually(lambda: not teaching.runs.get("me", run).ending)
    with pytest.raises(InputError, match="no such training"):
        teaching.runs.delete("you", run)
    teaching.runs.delete("me", run)
    assert teaching.runs.of("me") == () and not folder.exists()
    assert [path.name for path in adapters.iterdir()] == ["shapes.safetensors"]


def test_what_it_did_not_publish_stays(teaching: Teaching, tmp_path: Path) -> None:
    run = begun(teaching)
    eventually(lambda: made)
    (tmp_path / "runs" / run / PUBLISHED).write_text("shapes")  # by whatever accident
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "shapes.safetensors").write_bytes(b"weights")
    made[0].folder.write(RunStage("done"))
    made[0].kill()
    eventually(lambda: not teaching.runs.get("me", run).ending)
    teaching.runs.delete("me", run)
    assert (tmp_path / "adapters" / "shapes.safetensors").exists()


def test_a_check_waits_for_the_model_and_says_when_there_is_none(
    teaching: Teaching, language: Future
) -> None:
    teaching.drafts.rows("v", ("question", "answer"), ROWS, "typed")
    task = teaching.preparing.check("v", CHOICES)
    assert next(progress for progress in task.watch(0.05) if progress.message)
    language.set_exception(RuntimeError("no model"))
    with pytest.raises(NotReadyError, match="could not be loaded"):
        task.result()


def test_rows_are_read_once_and_their_check_goes_with_the_run(
    teaching: Teaching, language: Future, base, tmp_path: Path, monkeypatch
) -> None:
    language.set_result(SimpleNamespace(base=base))
    teaching.drafts.rows("v", ("question", "answer"), ROWS, "typed")
    first = teaching.preparing.check("v", CHOICES).result()
    assert first.dataset.parent == first.folder and first.checked.learned == 3
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "check", lambda *a, **k: pytest.fail("read again"))
        other = replace(CHOICES, held_out=0.5)
        again = teaching.preparing.check("v", other).result()
    assert again.checked.learned == again.checked.held_out == 2
    by_hand = Layout("by hand", "answer", "question")  # another reading of the same rows
    swapped = teaching.preparing.check("v", CHOICES, by_hand).result()
    assert swapped.dataset != again.dataset
    run = teaching.begin("me", "v", CHOICES, "mirror")
    kept = tmp_path / "runs" / run / "dataset.safetensors"
    assert kept.read_bytes() == swapped.dataset.read_bytes() != again.dataset.read_bytes()


def test_without_room_for_the_check_a_run_reads_its_rows(
    teaching: Teaching, language: Future, base, tmp_path: Path, monkeypatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_file, "save_dataset", full)
    language.set_result(SimpleNamespace(base=base))
    teaching.drafts.rows("v", ("question", "answer"), ROWS, "typed")
    assert teaching.preparing.check("v", CHOICES).result().dataset is None
    run = teaching.begin("me", "v", CHOICES, "mirror")
    assert not (tmp_path / "runs" / run / "dataset.safetensors").exists()


def test_of_a_browsers_secret_only_a_digest_is_kept() -> None:
    assert owner_of("secret") == owner_of("secret") != owner_of("Secret")
    assert "secret" not in owner_of("secret") and len(owner_of("\ud83d")) == 32
