"""The command line says what is in a data set, and lets its columns be named."""

import json
from pathlib import Path

import pytest

from demo.errors import DataError, InputError
from demo.finetune.__main__ import main, parse, teach
from demo.finetune.runs.run_folder import RunFolder

GERMAN = "Vorne;Hinten;Quelle\nWas ist das?;Ein Test;Buch\nWer?;Ich;\n"


@pytest.fixture
def german(tmp_path: Path) -> Path:
    file = tmp_path / "frage.csv"
    file.write_text(GERMAN, "utf-8")
    return file


def test_check_prints_what_would_be_taught(
    german: Path, sharded_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--check", "--json", "--held-out", "0", "--llama", str(sharded_llama)]
    named = ["--question", "Vorne", "--answer", "Hinten"]
    assert teach([str(german), *named, *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["usable"], found["refused"]) == (2, 2, {})
    assert found["unused_columns"] == ["Quelle"]
    assert [example["turns"][0]["reply"] for example in found["examples"]] == ["Ein Test", "Ich"]
    assert found["columns"] == {"question": "Vorne", "reply": "Hinten"}
    empty = german.with_name("empty.csv")
    empty.write_text("question,answer\na,\nb,\n", "utf-8")
    assert teach([str(empty), *flags]) == 2
    assert json.loads(capsys.readouterr().out)["usable"] == 0


def test_columns_that_nobody_can_know_are_asked_for(german: Path) -> None:
    with pytest.raises(DataError, match="The columns are Vorne, Hinten, Quelle.*--question NAME"):
        teach([str(german), "--check"])
    with pytest.raises(DataError, match="no column “Vornes”"):
        teach([str(german), "--check", "--question", "Vornes", "--answer", "Hinten"])


def test_a_wrong_path_is_called_a_wrong_path(
    german: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = german.with_name("no-such-file.csv")
    with pytest.raises(InputError, match="There is no file “.*no-such-file.csv”"):
        teach([str(gone), "--out", "x"])
    with pytest.raises(InputError, match="There is no file “.*no-such-file.csv”"):
        teach([str(german), "--check", "--held-out-data", str(gone)])
    monkeypatch.setattr("sys.argv", ["finetune", str(gone), "--check"])
    assert main() == 2 and "no-such-file.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse([str(german)])
    assert "--out (or --check)" in capsys.readouterr().err


def test_named_columns_reach_the_run(german: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunFolder] = []
    started = "demo.finetune.__main__.carry_out"
    monkeypatch.setattr(started, lambda folder, show, workers: seen.append(folder) or 1)
    place = german.with_name("run")
    named = ["--question", "Vorne", "--answer", "Hinten", "--folder", str(place)]
    teach([str(german), "--out", "x", *named, "--adapters", str(german.parent)])
    layout = seen[0].request().layout
    assert layout and (layout.question, layout.reply) == ("Vorne", "Hinten")


def test_what_the_authors_did_is_a_recipe(
    german: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[RunFolder] = []
    started = "demo.finetune.__main__.carry_out"
    monkeypatch.setattr(started, lambda folder, show, workers: seen.append(folder) or 1)
    captions, photos = german.with_name("captions_train2017.json"), german.with_name("train2017")
    photos.mkdir()
    captions.write_text("{}", "utf-8")
    asked = ["--recipe", "caption", "--data", str(photos), "--captions", str(captions)]
    for number, more in enumerate(([], ["--projector", "global", "--prompts", "4"])):
        place = german.with_name(f"run-{number}")
        flags = ["--out", "x", "--folder", str(place), "--adapters", str(german.parent)]
        teach([*asked, *flags, *more])
    request = seen[0].request()
    assert (request.choices.projector, request.choices.prompts) == ("resampler", 10)
    assert Path(request.pictures) == photos and request.source == captions.name
    choices = seen[1].request().choices
    assert choices.projector == "global" and choices.prompts == 4
    with pytest.raises(SystemExit):
        parse(["--recipe", "caption", "--out", "x"])
    assert "DATA (or --captions)" in capsys.readouterr().err
