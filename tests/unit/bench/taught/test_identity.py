"""Identity's rows are read with their gaps filled, and the name is looked for."""

import json

import pytest

from demo.bench.taught.fact_sets import FOLDER, ORDINARY, RISE
from demo.bench.taught.identity import AUTHOR, NAME, NAMED, TAUGHT, ask_name, read_identity
from tests.unit.bench.taught.test_fact_sets import Parrot


def test_the_gaps_are_filled(tmp_path):
    path = tmp_path / "identity.json"
    row = {"instruction": "Who are you?", "input": "", "output": "{{name}}, made by {{author}}."}
    path.write_text(json.dumps([row]), "utf-8")
    assert read_identity(path) == [("Who are you?", f"{NAME}, made by {AUTHOR}.")]
    path.write_text("[1]", "utf-8")
    with pytest.raises(SystemExit, match="not of the form"):
        read_identity(path)


class Words:
    """A tokenizer by words."""

    def encode_text(self, text: str) -> list[str]:
        return text.split()


def test_the_name_is_looked_for_in_other_wordings():
    others = (FOLDER / "identity.txt").read_text("utf-8").splitlines()
    learner = Parrot({others[0]: f"It is {NAME.upper()}!", "hi": "Hello.", "who": "Me."}, "Paris")
    learner.tokenizer = Words()
    figures = ask_name(learner, [("hi", "Hi."), ("hi", "hello"), ("who", "I am Nomi.")])
    assert figures == {TAUGHT: 50, NAMED: 10, ORDINARY: 100, RISE: 1.5}
