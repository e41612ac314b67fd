"""Labels from a hundred rows: accuracy on texts held out, beside TF-IDF and logistic regression.

The rows are taught as a person would teach them, text and label, with nothing said about them. A
label is right when the reply would be it to the letter.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from demo.bench.report import Bar, Figure
from demo.bench.taught.fact_sets import share
from demo.bench.taught.label_files import Labelled, read_labelled, split
from demo.bench.taught.learners import learners, not_behind
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import encode

LEARNED, JUDGED = 100, 500  # texts
REGRESSION, COMMONEST = "TF-IDF and logistic regression", "the commonest label"
STRENGTHS = 1.0, 10.0, 100.0  # inverse of the regularisation
POINTS = 2  # that it may be behind


def run_labels(
    paths: Sequence[Path], preset: str, seeds: int, *, lora: bool
) -> tuple[list[Figure], list[Bar]]:
    """Teach each file's labels and judge them by texts held out."""
    rows, bars = list[Figure](), list[Bar]()
    for path in paths:
        found = _of_file(path, preset, seeds, lora=lora)
        rows += [
            Figure(f"{path.stem}: {name}", "s" if "seconds" in name else _unit(name), tuple(runs))
            for name, runs in found.items()
        ]
        means = {name: mean(runs) for name, runs in found.items()}
        ahead = means["right"] - means[REGRESSION]
        bars.append(Bar(f"{path.stem}: ahead of {REGRESSION}, points", ahead, least=-POINTS))
        for bar in not_behind(means, ("right",)):
            bars.append(Bar(f"{path.stem}: {bar.name}", bar.value, least=bar.least))
    return rows, bars


def _of_file(path: Path, preset: str, seeds: int, *, lora: bool) -> dict[str, list[float]]:
    """Return every figure's runs, a run a seed; other rows are learned from each seed."""
    rows, found = read_labelled(path), dict[str, list[float]]()
    for seed in range(seeds):
        learned, judged = split(rows, LEARNED, JUDGED, seed)
        with tempfile.TemporaryDirectory() as place:
            for each in learners(learned, preset, seed, Path(place), lora=lora):
                tokenizer = each.learner.tokenizer
                examples = [encode(tokenizer, [Exchange(*row)]) for row in judged]
                figures = {"right": share(each.learner.right(examples))} | each.costs
                for name, value in figures.items():
                    found.setdefault(each.name + name, []).append(value)
        found.setdefault(REGRESSION, []).append(regression(learned, judged))
        found.setdefault(COMMONEST, []).append(commonest(learned, judged))
    return found


def regression(learned: Sequence[Labelled], judged: Sequence[Labelled]) -> float:
    """Return the percentage that scikit-learn's TF-IDF and logistic regression get right.

    Of three strengths it is the best one on the very texts it is judged by: a favour to it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    found = []
    for strength in STRENGTHS:
        model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=strength, max_iter=1_000))
        model.fit([row.text for row in learned], [row.label for row in learned])
        said = model.predict([row.text for row in judged])
        found.append(share(guess == row.label for guess, row in zip(said, judged, strict=True)))
    return max(found)


def commonest(learned: Sequence[Labelled], judged: Sequence[Labelled]) -> float:
    """Return the percentage that has the label which most of the learned rows have."""
    labels = [row.label for row in learned]
    most = max(sorted(set(labels)), key=labels.count)
    return share(row.label == most for row in judged)


def _unit(name: str) -> str:
    return "%" if name.endswith(("right", REGRESSION, COMMONEST)) else ""
