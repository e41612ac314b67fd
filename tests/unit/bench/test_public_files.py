"""A row of the table for each file, between two marks of a document."""

import json
import sys
from pathlib import Path

import pytest

from demo.bench.public_files import BEGIN, END, main


def test_files_are_counted_in_a_document(
    sharded_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"question": "a", "answer": "b", "id": 1},
        {"question": "a", "answer": "b", "id": 2},
        {"question": "", "answer": "b", "id": 3},
    ]
    files = {"good.json": json.dumps(rows), "odd.csv": "x,y\n1,2\n", "bad.json": "[{]"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    document = tmp_path / "data.md"
    document.write_text(f"# Data\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n")
    monkeypatch.setenv("LLAMA_ADAPTER_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> int:
        flags = ["--llama", str(sharded_llama)]
        monkeypatch.setattr(sys, "argv", ["public_files", *arguments, *flags])
        return main()

    paths = [str(tmp_path / name) for name in files]
    assert run(f"Good rows={paths[0]}", *paths[1:], "--write", str(document)) == 0
    text = document.read_text()
    assert text.startswith(f"# Data\n\n{BEGIN}\n| file |") and text.endswith("The rest.\n")
    assert (
        "| `Good rows` | question and reply | 3 | 1 | 1: The question is empty; "
        "1: the same as another row | `id` |"
    ) in text
    assert "| `odd.csv` | asked about | 1 | 0 | The columns' names do not say" in text
    assert "| `bad.json` | refused | 0 | 0 |" in text and "old" not in text
    assert run(str(tmp_path / "gone.csv")) == 1 and "no file" in capsys.readouterr().err
    assert run(paths[0], "--write", paths[0]) == 1 and "has no" in capsys.readouterr().err
