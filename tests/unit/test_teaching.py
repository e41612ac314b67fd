"""Teaching for visitors: their data, their runs, and that a reply goes first."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from demo.adapter.owners import set_owner
from demo.drafts import MOST_DRAFTS, Drafts
from demo.errors import BusyError, DataError, InputError, NotReadyError
from demo.finetune import runs
from demo.finetune.events import Stage, Started, Step
from demo.finetune.log import EventLog
from demo.finetune.presets import Choices
from demo.finetune.run_folder import RunFolder
from demo.settings import Settings
from demo.teaching import PUBLISHED, TAKEN, Teaching, owner_of
from demo.work import CalledOff, Work

ROWS = [[word, word[::-1]] for word in ("sun", "moon", "star", "tree")]
CHOICES = Choices(steps=2, batch=2)


class Stand:
    """In place of a child process: it stands there until it is told to end."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self._over = folder, threading.Event()
        self.signals: list[str] = []
        folder.write(Stage("running"))
        made.append(self)

    def pause(self) -> None:
        self.signals.append("pause")

    def go_on(self) -> None:
        self.signals.append("go on")

    def kill(self) -> None:
        self._over.set()

    def end(self, seconds: float = 0) -> None:
        self._over.set()

    def wait(self) -> int:
        self._over.wait(30)
        return 0


made: list[Stand] = []


@pytest.fixture
def teaching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teaching]:
    monkeypatch.setattr(runs, "Child", Stand)
    made.clear()
    settings = Settings(runs=tmp_path / "runs", adapters=tmp_path / "adapters", waiting_runs=1)
    subject = Teaching(settings, Future())
    subject.start()
    yield subject
    subject.close()


def begun(teaching: Teaching, owner: str = "me", visitor: str = "v") -> str:
    drafts = teaching.preparing.drafts
    draft = drafts.rows(visitor, ("question", "answer"), ROWS, "typed")
    drafts.change(visitor, draft, checked=SimpleNamespace())
    return teaching.begin(owner, visitor, CHOICES, "mirror")


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


def test_two_clicks_are_one_run_and_others_wait(teaching: Teaching) -> None:
    first = begun(teaching)
    with pytest.raises(BusyError, match="under way"):
        begun(teaching)
    second = begun(teaching, "you", "w")
    assert [run.id for run in teaching.runs("me")] == [first]
    assert teaching.run("you", second).place == 1
    with pytest.raises(InputError, match="no such training"):
        teaching.story("me", second)
    with pytest.raises(BusyError, match="wait already"):
        begun(teaching, "them", "x")


def test_nothing_starts_unchecked_or_nameless(teaching: Teaching) -> None:
    drafts = teaching.preparing.drafts
    draft = drafts.rows("v", ("question", "answer"), ROWS, "typed")
    with pytest.raises(InputError, match="checked first"):
        teaching.begin("me", "v", CHOICES, "mirror")
    drafts.change("v", draft, checked=SimpleNamespace())
    with pytest.raises(InputError, match="needs a name"):
        teaching.begin("me", "v", CHOICES, " ")
    with pytest.raises(InputError, match="room for 3 questions"):
        teaching.begin("me", "v", CHOICES, "mirror", probes=("a",) * 4)
    assert teaching.runs("me") == ()


def test_a_run_stands_still_while_any_reply_is_written(teaching: Teaching) -> None:
    begun(teaching)
    while not made:
        pass
    with teaching.waits():
        with teaching.waits():
            assert made[0].signals == ["pause"]
        assert made[0].signals == ["pause"]
    assert made[0].signals == ["pause", "go on"]


def test_a_story_is_read_on(teaching: Teaching) -> None:
    run = begun(teaching)
    while not made:
        pass
    log = EventLog(made[0].folder.log)
    log.append(Started(9, 2, 4, 0))
    assert teaching.story("me", run).done == 0
    log.append(Step(1, 1.0, 5e-3, (0.0,), 1.0))
    assert teaching.story("me", run).seconds_left == 1.0


def test_a_folder_of_runs_belongs_to_one_program(teaching: Teaching, tmp_path: Path) -> None:
    other = Teaching(Settings(runs=tmp_path / "runs"), Future())
    other.start()
    assert other.off == TAKEN
    with pytest.raises(InputError, match="same folder"):
        other.begin("me", "v", CHOICES, "mirror")
    other.close()
    off = Teaching(Settings(runs=tmp_path / "runs", training=False), Future())
    off.start()
    assert "switched off" in off.off and off.runs("me") == ()
    off.close()


def test_an_adapter_is_its_makers(teaching: Teaching, tmp_path: Path, monkeypatch) -> None:
    import demo.finetune.publish

    def publish(adapter: Path, folder: Path, name: str, *, owner: str, again: bool) -> str:
        folder.mkdir(exist_ok=True)
        assert owner == "me" and again == (folder / f"{name}.safetensors").exists()
        (folder / f"{name}.safetensors").write_bytes(adapter.read_bytes())
        return name

    monkeypatch.setattr(demo.finetune.publish, "publish", publish)
    run = begun(teaching)
    with pytest.raises(InputError, match="no adapter"):
        teaching.publish("me", run)
    weights = tmp_path / "runs" / run / "adapter.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(InputError, match="no such training"):
        teaching.publish("you", run)
    assert teaching.published(teaching.run("me", run)) == ""
    assert teaching.publish("me", run) == teaching.publish("me", run) == "mirror"
    assert teaching.published(teaching.run("me", run)) == "mirror"
    weights.write_bytes(b"more")  # the run was taken up
    os.utime(weights, (time.time() + 9,) * 2)
    assert teaching.publish("me", run) == "mirror"
    assert (tmp_path / "adapters" / "mirror.safetensors").read_bytes() == b"more"


def test_a_deleted_run_takes_its_adapter_along(teaching: Teaching, tmp_path: Path) -> None:
    run = begun(teaching)
    while not made:
        pass
    folder, adapters = tmp_path / "runs" / run, tmp_path / "adapters"
    (folder / PUBLISHED).write_text("mirror")
    set_owner(adapters, "mirror", "me")
    for name in ("mirror", "shapes"):
        (adapters / f"{name}.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match="Stop it first"):
        teaching.delete("me", run)
    made[0].folder.write(Stage("done"))
    made[0].kill()
    while teaching.run("me", run).ending:
        pass
    with pytest.raises(InputError, match="no such training"):
        teaching.delete("you", run)
    teaching.delete("me", run)
    assert teaching.runs("me") == () and not folder.exists()
    assert [path.name for path in adapters.iterdir()] == ["shapes.safetensors"]


def test_what_it_did_not_publish_stays(teaching: Teaching, tmp_path: Path) -> None:
    run = begun(teaching)
    while not made:
        pass
    (tmp_path / "runs" / run / PUBLISHED).write_text("shapes")  # by whatever accident
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "shapes.safetensors").write_bytes(b"weights")
    made[0].folder.write(Stage("done"))
    made[0].kill()
    while teaching.run("me", run).ending:
        pass
    teaching.delete("me", run)
    assert (tmp_path / "adapters" / "shapes.safetensors").exists()


def test_a_check_waits_for_the_model_and_says_when_there_is_none(teaching: Teaching) -> None:
    teaching.preparing.drafts.rows("v", ("question", "answer"), ROWS, "typed")
    work = teaching.preparing.check("v", CHOICES)
    assert next(progress for progress in work.watch(0.05) if progress.message)
    teaching._language.set_exception(RuntimeError("no model"))
    with pytest.raises(NotReadyError, match="could not be loaded"):
        work.result()


def test_work_is_watched_and_called_off() -> None:
    ended = threading.Event()

    def do(work: Work[int]) -> int:
        work.endable(ended.set)
        work.wait(lambda: False, lambda: "waiting")
        return 1

    work = Work(do)
    assert any(progress.message == "waiting" for progress in work.watch(0.01))
    work.call_off()
    with pytest.raises(CalledOff):
        work.result()
    assert ended.is_set() and Work(lambda work: 2).result() == 2


def test_of_a_browsers_secret_only_a_digest_is_kept() -> None:
    assert owner_of("secret") == owner_of("secret") != owner_of("Secret")
    assert "secret" not in owner_of("secret") and len(owner_of("\ud83d")) == 32
