"""Each experiment, whole, in its smallest form."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.paper.__main__ import main

pytestmark = pytest.mark.compiles
SIZES = {"max_position_embeddings": 1024}


@pytest.fixture(scope="module")
def llama(tiny_llama_folder: Callable[..., Path]) -> str:
    return str(tiny_llama_folder(**SIZES))


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "alpaca.json"
    words = ("fox", "dog", "hello", "brown", "quick", "lazy")
    rows = [
        {"instruction": f"Say {a} {b}", "input": b if a == "fox" else "", "output": f"{a} {b}"}
        for a in words
        for b in words
    ]
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "problems.json"
    shared = {"hint": "", "image": "", "subject": "natural science", "grade": "grade2"}
    rows = {
        str(n): {
            "question": f"Which? {n}",
            "choices": ["ant", "dog"],
            "answer": n % 2,
            "split": ("train", "train", "val", "test")[n % 4],
            **shared,
        }
        for n in range(16)
    }
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture
def paper(
    llama: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[dict[str, Any], str]]:
    """Run one command; return its figures and what it printed."""

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        out = tmp_path / "figures.json"
        flags = ["--llama", llama, "--json", str(out)]
        monkeypatch.setenv("LLAMA_ADAPTER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["demo.paper", *arguments, *flags])
        assert main() == 0
        return json.loads(out.read_text("utf-8")), capsys.readouterr().out

    return run


def test_scienceqa(paper: Callable[..., Any], problems: str, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    flags = ["--epochs", "2", "--batch", "4", "--folder", kept]
    found, said = paper("scienceqa", problems, *flags)
    assert found["problems"] == {"train": 8, "val": 4, "test": 4}
    assert found["accuracy"]["random"] == dict.fromkeys(("average", "NAT", "NO", "G1-6"), 50.0)
    assert 0 <= found["accuracy"]["adapter, as written"]["average"] <= 100
    assert [point["step"] for point in found["curve"]][-1] == 4 and found["p_against_base"] <= 1
    assert "LLaMA-Adapter 7B (1.8M)" in said and "85.19" in said
    again, _ = paper("scienceqa", problems, *flags)  # nothing is left to learn
    assert again["curve"] == found["curve"] and again["accuracy"] == found["accuracy"]


def test_instruct(paper: Callable[..., Any], instructions: str, tmp_path: Path) -> None:
    svg = tmp_path / "curve.svg"
    found, said = paper(
        "instruct", instructions, "--epochs", "1", "--batch", "8", "--svg", str(svg)
    )
    assert found["rows"]["train"] + found["rows"]["held_out"] == 36
    assert found["layers"] == 2 and found["curve"][-1]["epoch"] == 1.0  # 30 of 32 layers, of 3
    assert "train 1.253 → 1.081" in said and svg.read_text().startswith("<svg xmlns")


def test_table3(paper: Callable[..., Any], instructions: str) -> None:
    found, said = paper("table3", instructions, "--epochs", "0.5", "--without-lora")
    costs = found["costs"]
    assert costs["full fine-tuning"]["parameters"] > 10 * costs["adapter"]["parameters"] > 0
    assert costs["base alone"]["held_out_loss"] > 0 and "Alpaca-LoRA" in said


@pytest.mark.parametrize("kind", ["layers", "init", "epochs"])
def test_ablate(paper: Callable[..., Any], problems: str, tmp_path: Path, kind: str) -> None:
    svg = tmp_path / "curves.svg"
    flags = ["--epochs", "1", "--batch", "4", "--seeds", "2", "--svg", str(svg)]
    found, said = paper("ablate", kind, problems, *flags)
    assert len(found["settings"]) == (2 if kind == "init" else 3)
    for row in found["settings"].values():
        assert len(row["accuracy"]) == 2 and row["published"] in said
    assert svg.read_text().count("<path") >= 4


def test_compare(paper: Callable[..., Any], instructions: str, tmp_path: Path) -> None:
    blind = tmp_path / "blind.md"
    flags = ["--epochs", "0.5", "--held-out", "1", "--longest", "4", "--without-lora"]
    found, said = paper("compare", instructions, *flags, "--blind", str(blind))
    ways = {"base", "base, 3 solved", "adapter", "full"}
    assert all(row["replies"].keys() == ways for row in found["rows"]) and len(found["rows"]) == 10
    key = json.loads(blind.with_suffix(".key.json").read_text())
    assert [set(row.values()) for row in key] == [ways] * 10
    assert "Tell me about alpacas." in said and "## 10. Say" in blind.read_text()


def test_what_cannot_be_used_is_said(
    instructions: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["scienceqa", instructions], "This is not ScienceQA"),
        (["ablate", "init", "gone.json"], "There is no file “gone.json”"),
    ):
        monkeypatch.setattr(sys, "argv", ["demo.paper", *arguments, "--llama", "gone"])
        assert main() == 2 and words in capsys.readouterr().err
