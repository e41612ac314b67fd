"""Public files of texts and their labels, as their authors wrote them.

Three forms are read: a folder with a file for each label, a text a line (movie reviews); a table
with commas whose first column is the label, with the labels' names in `classes.txt` beside it
where they are numbers (AG's news); and lines that begin with the label, before a tab (SMS spam) or
before a colon and a finer label (TREC's questions).
"""

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LONGEST = 1_000  # characters of a text


class Labelled(NamedTuple):
    """A text and its label."""

    text: str
    label: str


def read_labelled(path: Path) -> list[Labelled]:
    """Read a public file; texts that come twice are left out the second time.

    Raises:
        SystemExit: there is nothing in it, or all texts have one label.
    """
    try:
        found = [row for row in _rows(path) if row.text and len(row.text) <= LONGEST]
    except (OSError, ValueError, IndexError) as error:
        raise SystemExit(f"{path} is not of a form that is read: {error}") from error
    first = {row.text: row for row in reversed(found)}
    rows = [row for row in found if first[row.text] is row]
    if len({row.label for row in rows}) < 2:
        raise SystemExit(f"{path} has fewer than two labels.")
    return rows


def split(
    rows: Sequence[Labelled], learned: int, judged: int, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """Draw rows to learn, and others to judge by, which are the same for every seed.

    Raises:
        SystemExit: there are too few.
    """
    if len(rows) < learned + judged:
        raise SystemExit(f"{len(rows)} texts are too few for {learned} and {judged}.")
    order = list(rows)
    random.Random(0).shuffle(order)
    rest = order[judged:]
    return random.Random(seed).sample(rest, learned), order[:judged]


def _rows(path: Path) -> Iterator[Labelled]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            for line in _text(file).split("\n"):
                yield Labelled(_plain(line), file.stem)
    elif path.suffix == ".csv":
        names = _names(path.with_name("classes.txt"))
        with path.open(encoding="utf-8", newline="") as table:
            for label, *texts in csv.reader(table):
                yield Labelled(_plain(" ".join(texts)), names.get(label, label))
    else:
        for line in _text(path).split("\n"):
            if line.strip():
                yield _marked(line)


def _marked(line: str) -> Labelled:
    label, tab, text = line.partition("\t")
    if not tab:
        label, _, text = line.partition(" ")
    return Labelled(_plain(text), label.split(":")[0])


def _names(path: Path) -> dict[str, str]:
    """Return names of labels by their numbers, counted from 1."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {str(number): name.strip() for number, name in enumerate(lines, 1)}


def _text(path: Path) -> str:
    """Read a text in whichever of the two codes it is in."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _plain(text: str) -> str:
    return " ".join(text.strip().strip('"').split())
