"""ScienceQA's problems and its published rules of scoring."""

import json
import random
from dataclasses import replace

import pytest

from demo.errors import DataError
from demo.finetune.data.read import read_table
from demo.paper.published import GROUPS, SCIENCEQA
from demo.paper.science import (
    Problem,
    accuracy,
    blind,
    choice_of,
    interval,
    mcnemar,
    problems_of,
    table_lines,
)

BASE = Problem("7", "Which?", ("ant", "a whale"), 1, "", "", "natural science", "grade4", "test")


def test_published_problems_are_read_with_their_ids() -> None:
    raw = {
        "question": "Which?",
        "choices": ["ant", "a whale"],
        "answer": 1,
        "hint": "",
        "image": None,
        "task": "closed choice",
        "grade": "grade4",
        "subject": "natural science",
        "split": "test",
    }
    other = raw | {"image": "image.png", "hint": "Look.", "split": "val", "choices": ["1", "2"]}
    found = problems_of(read_table(json.dumps({"7": raw, "9": other}).encode()))
    assert found[0] == BASE
    assert found[0].prompt == "Question: Which?\nContext: N/A\nOptions: (A) ant (B) a whale"
    assert found[0].reply == "The answer is (B)."
    assert (found[1].id, found[1].choices, found[1].split) == ("9", ("1", "2"), "val")
    with pytest.raises(DataError, match="column “grade” is missing"):
        problems_of(read_table(b'[{"question": "a", "choices": ["b"], "answer": 0}]'))
    with pytest.raises(DataError, match="Item 1 is no problem of ScienceQA"):
        problems_of(read_table(json.dumps([raw | {"answer": 2}]).encode()))


def test_groups_are_those_of_the_published_evaluator() -> None:
    assert BASE.groups == ("average", "NAT", "NO", "G1-6")
    both = replace(BASE, hint="h", image="i.png", subject="language science", grade="grade7")
    assert both.groups == ("average", "LAN", "TXT", "IMG", "G7-12")
    social = replace(BASE, subject="social science", image="i.png")
    assert social.groups == ("average", "SOC", "IMG", "G1-6")
    found = accuracy([BASE, both, social], [1, 0, 1])
    assert found == {
        **{"average": 66.67, "NAT": 100.0, "NO": 100.0, "G1-6": 100.0},
        **{"LAN": 0.0, "TXT": 0.0, "IMG": 50.0, "G7-12": 0.0, "SOC": 100.0},
    }


def test_a_reply_counts_by_the_one_option_that_it_names() -> None:
    for reply, choice in (
        ("The answer is (B).", 1),
        ("The answer is A.", 0),
        (" So: The answer is (B). The answer is (B).", 1),
    ):
        assert choice_of(reply, BASE, random.Random(0)) == choice
    # Two options, one that is not there, none: a guess, the same for the same seed.
    for reply in ("The answer is (A). The answer is (B).", "The answer is (C).", "B", ""):
        guesses = {choice_of(reply, BASE, random.Random(seed)) for seed in range(20)}
        assert guesses == {0, 1}


def test_blind_baselines() -> None:
    three = replace(BASE, choices=("a", "bbb", "cc"), answer=2)
    learned = [BASE, BASE, replace(BASE, answer=0), three]
    found = blind([BASE, three], learned)
    assert found["random"]["average"] == pytest.approx((50 + 100 / 3) / 2, abs=0.01)
    assert found["commonest index"]["average"] == 100.0
    assert found["longest option"]["average"] == 50.0


def test_intervals_and_tests_are_the_textbooks() -> None:
    assert interval(8, 10) == (49.02, 94.33)  # Wilson
    assert interval(0, 0) == (0.0, 100.0)
    # 9 gained and 1 lost of 10 discordant pairs: 2 * (1 + 10) / 1024.
    problems = [BASE] * 12
    assert mcnemar(problems, [1] * 9 + [0] + [1] * 2, [0] * 9 + [1] * 3) == 22 / 1024
    assert mcnemar(problems, [1] * 12, [1] * 12) == 1.0


def test_every_row_of_table_2_has_all_groups() -> None:
    assert all(len(row) == len(GROUPS) for row in SCIENCEQA.values())
    lines = table_lines({"ours": {"average": 50.0}}, ("average", "IMG"))
    assert lines[1].split() == ["ours", "50.00", "–"]
