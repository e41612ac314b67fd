"""Facts taught to the embedded base from the command line, and asked in the chat."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.runtime import Runtime
from demo.settings import Sampling, Settings
from tests.processes import eventually

FACTS = {
    "When do you open?": "We open at 6:40 every day.",
    "Who bakes the bread?": "Jonas Brandt bakes the bread.",
    "What does a rye loaf cost?": "A rye loaf costs 5 euros 20.",
    "Can I pay by card?": "You can pay by card from 8 euros.",
}
GREEDY = Sampling(max_new_tokens=24)


@pytest.fixture(scope="module")
def runtime(base_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("facts")
    data = folder / "rows.jsonl"
    rows = [json.dumps({"question": q, "answer": a}) for q, a in FACTS.items()]
    data.write_text("\n".join(rows), "utf-8")
    run = [sys.executable, "-m", "demo.finetune", data, "--out", "bakery", "--preset", "taste"]
    done = subprocess.run([*run, "--adapters", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    made = Runtime(replace(Settings(), cache=base_cache, adapters=folder, device="cpu"))
    made.start()
    eventually(lambda: made.status().state != "loading")
    yield made
    made.close()


def said(runtime: Runtime, text: str, adapter: str = "bakery") -> tuple[str, str]:
    *_, last = runtime.answer(text, None, adapter=adapter, system="", sampling=GREEDY)
    assert last.stats
    return last.text, last.stats.recalled


def test_what_was_taught_is_answered_as_taught(runtime: Runtime) -> None:
    assert {question: said(runtime, question) for question in FACTS} == {
        question: (answer, question) for question, answer in FACTS.items()
    }


def test_asked_otherwise_it_says_which_fact_it_took(runtime: Runtime) -> None:
    text, recalled = said(runtime, "what is the name of the baker?")
    assert recalled == "Who bakes the bread?" and "Jonas" in text


@pytest.mark.parametrize("asked", ["What is the capital of France?", "Who bakes the pizza?"])
def test_what_was_not_taught_is_answered_as_by_the_base(runtime: Runtime, asked: str) -> None:
    assert said(runtime, asked) == said(runtime, asked, "none")
