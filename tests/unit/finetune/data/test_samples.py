"""The data sets that come with the program: they can be taught, and say what their README says."""

import json
import re
from collections import Counter

import pytest

from checkpoints.recipes.data import appointments as events
from demo.finetune.data.columns import recognise
from demo.finetune.data.dataset import CheckSettings, Dataset, check
from demo.finetune.data.samples import DATASETS, SAMPLES, load_sample
from demo.llama.base import Base


@pytest.fixture(scope="module", params=["pirate", "event-json"])
def text_sample(request: pytest.FixtureRequest, embedded_base: Base) -> Dataset:
    table = load_sample(request.param)
    return check(
        table, recognise(table.columns), embedded_base.tokenizer, CheckSettings(window=128)
    )


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATASETS / f"{name}.jsonl").open(encoding="utf-8")]


def test_nothing_of_the_text_samples_is_lost(text_sample):
    report = text_sample.report
    assert report.rows == report.usable >= 140 and len(text_sample.held_out) >= 20
    assert not (report.repaired or report.duplicates or report.conflicts or report.leaks)


def test_every_sample_is_described():
    readme = (DATASETS / "README.md").read_text("utf-8")
    for sample in SAMPLES.values():
        assert sample.title and sample.description.endswith(".") and sample.license
        if sample.license == "Apache-2.0":
            split = Counter(row["split"] for row in rows(sample.name))
            assert f"{sample.name}.jsonl" in readme
            assert f"({split['train']} to learn, {split['test']} held out)" in readme
            assert sample.description.startswith(f"{sum(split.values())} ")
            prompts = {row["prompt"] for row in rows(sample.name)}
            assert len(sample.probes) == 3 and not prompts & set(sample.probes)


def test_the_pirate_is_brief_and_varied():
    replies = [row["response"] for row in rows("pirate")]
    assert all(reply.endswith(" Yo ho ho, and fair winds to ye!") for reply in replies)
    assert max(len(reply.split()) for reply in replies) <= 48
    assert len({reply.split(",")[0] for reply in replies}) > 0.9 * len(replies)
    marks = re.compile(r"\b(arr|matey|ye|yer|me|o'|be|says i|aye|lad|savvy|swab|nay)\b|har", re.I)
    assert all(marks.search(reply) for reply in replies)


def test_events_are_what_the_recipe_writes():
    assert rows("event-json") == events.rows(0)


def test_events_have_one_right_answer():
    meant = dict(events.times())
    for row in rows("event-json"):
        event = json.loads(row["response"])
        assert list(event) == ["who", "day", "time"]
        assert row["response"] == json.dumps(event)
        assert row["prompt"].count(event["who"]) == 1
        assert re.findall("|".join(events.DAYS), row["prompt"]) == [event["day"]]
        alone = r"(?<![\w:])%s(?!\w|:\d)"  # "2 pm" does not stand in "12 pm"
        said = [words for words in meant if re.search(alone % re.escape(words), row["prompt"])]
        assert meant[max(said, key=len)] == event["time"]


def test_held_out_events_are_new_and_can_be_known():
    everything = rows("event-json")
    parts = {p: [row for row in everything if row["split"] == p] for p in ("train", "test")}

    def values(part: str, key: str) -> set[str]:
        return {json.loads(row["response"])[key] for row in parts[part]}

    assert not {row["prompt"] for row in parts["train"]} & {row["prompt"] for row in parts["test"]}
    assert values("test", "time") <= values("train", "time")
    new = values("test", "who") - values("train", "who")
    assert len(new) >= 5
    learned = " ".join(row["prompt"] for row in parts["train"])
    assert all(wording in learned for wording, _ in events.times())


def test_easy_vqa_is_taught_with_its_own_test_part():
    table = load_sample("easy-vqa")
    layout = recognise(table.columns)
    assert layout.name == "image question"
    split = Counter(row.cells["split"] for row in table.rows)
    assert split == {"train": 38_575, "test": 1_000}
    assert all(row.cells["image"] in table.pictures for row in table.rows[::500])
    assert table.pictures["train/0.png"].startswith(b"\x89PNG")
