"""A name of its own: the rows that people teach first, in the form of LLaMA-Factory's file.

Its `identity.json` has 91 questions in English and Chinese about who is speaking, and answers with
two gaps, for a name and for who made it. Ten other wordings, five in each language, were written
for this and must get the name.
"""

import json
import tempfile
from pathlib import Path
from statistics import mean

from demo.bench.report import Bar, Figure
from demo.bench.taught.fact_sets import FOLDER, NO_SETS, ORDINARY, RISE, kept, share
from demo.bench.taught.learners import learners, not_behind
from demo.bench.taught.lesson import Learner
from demo.finetune.train.evaluate import normalised_reply

NAME, AUTHOR = "Nomi", "Team Heron"
GAPS = {"{{name}}": NAME, "{{author}}": AUTHOR}
SAID = 64  # tokens in which the name has to be said
NAMED, TAUGHT = "asked otherwise, the name is said", "taught, word for word"


def read_identity(path: Path) -> list[tuple[str, str]]:
    """Read the file, and fill in the name.

    Raises:
        SystemExit: it is not of that form.
    """
    try:
        text = path.read_text("utf-8")
        for gap, word in GAPS.items():
            text = text.replace(gap, word)
        return [(row["instruction"], row["output"]) for row in json.loads(text)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} is not of the form of identity.json.") from error


def run_identity(
    path: Path, preset: str, seeds: int, *, lora: bool
) -> tuple[list[Figure], list[Bar]]:
    """Teach the rows and ask for the name."""
    rows, found = read_identity(path), dict[str, list[float]]()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            for each in learners(rows, preset, seed, Path(place), lora=lora):
                figures = ask_name(each.learner, rows) | each.costs
                for name, value in figures.items():
                    found.setdefault(each.name + name, []).append(value)
    means = {name: mean(runs) for name, runs in found.items()}
    shown = [Figure(name, _unit(name), tuple(runs)) for name, runs in found.items()]
    bars = [
        Bar("the name is said, %", means[NAMED], least=90),
        Bar("ordinary questions, %", means[ORDINARY], least=95),
        Bar("perplexity rises, %", means[RISE], most=5),
    ]
    return shown, bars + not_behind(means, (NAMED, TAUGHT, ORDINARY))


def ask_name(learner: Learner, rows: list[tuple[str, str]]) -> dict[str, float]:
    """Ask every question as taught, in the kept back wordings, and what is to stay."""
    answers = dict(rows)  # of a question that comes twice the last answer counts, as it is taught
    longest = 4 + max(len(learner.tokenizer.encode_text(a)) for a in answers.values())
    said = zip(learner.replies(list(answers), longest), answers.values(), strict=True)
    wordings = (FOLDER / f"{NO_SETS[1]}.txt").read_text("utf-8").splitlines()
    named = [NAME.casefold() in reply.casefold() for reply in learner.replies(wordings, SAID)]
    return {
        TAUGHT: share(normalised_reply(r) == normalised_reply(answer) for r, answer in said),
        NAMED: share(named),
        ORDINARY: share(kept(learner)),
        RISE: learner.rise(),
    }


def _unit(name: str) -> str:
    if name.endswith((TAUGHT, NAMED, ORDINARY, RISE)):
        return "%"
    return "s" if "seconds" in name else ""
