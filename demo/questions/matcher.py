"""Which taught fact a question asks for, or none: a value, with how sure it is.

The few facts nearest in meaning are looked at closely (`evidence.py`). A network of one small
hidden layer rates each of them, and none of them, by the evidence. Its weights were fitted once, on
questions that people might ask about things that this program does not know
(`checkpoints/recipes/questions/`), and hold for whatever is taught.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder
from demo.questions.evidence import NAMES, Words, evidence

CLOSELY = 4  # facts, the nearest in meaning, that are looked at closely
LEAST_SURE = 0.5  # that it is this fact, neither another nor none
MOST_WORDS = 20_000  # whose vectors are kept
READ = 400  # characters of an answer
Network = dict[str, np.ndarray]


class Fact(NamedTuple):
    """A question that was taught, and its answer."""

    question: str
    answer: str


class Match(NamedTuple):
    """The place of the fact that a question asks for, and how sure that is, 0.5 to 1."""

    place: int
    sure: float


class KnownFacts:
    """Facts, and what they are compared by.

    Args:
        facts: G of them.
        encoder: of their texts.
    """

    def __init__(self, facts: Sequence[Fact], encoder: SentenceEncoder) -> None:
        self.facts = [Fact(fact.question, fact.answer[:READ]) for fact in facts]
        self.words = [(Words(fact.question), Words(fact.answer)) for fact in self.facts]
        together = [" ".join(fact) for fact in self.facts]
        parts = (together, [f.question for f in self.facts], [f.answer for f in self.facts])
        self.keys: Tensor = torch.stack([encoder.encode(part) for part in parts])  # (3, G, W)
        self.asked = {plain(fact.question): place for place, fact in enumerate(self.facts)}


class Matcher:
    """Matches questions with facts; safe to use from several threads.

    Args:
        encoder: of questions and facts.
        network: that rates them.
    """

    def __init__(self, encoder: SentenceEncoder, network: Network) -> None:
        self.encoder, self._network = encoder, network
        self._vectors: dict[str, np.ndarray] = {}

    def known(self, facts: Sequence[Fact]) -> KnownFacts:
        """Prepare facts to be asked for; a few milliseconds each."""
        return KnownFacts(facts, self.encoder)

    def match(self, asked: str, known: KnownFacts) -> Match | None:
        """Return the fact that is asked for, None for none of them."""
        if not known.facts or not asked.strip():
            return None
        if (place := known.asked.get(plain(asked))) is not None:
            return Match(place, 1.0)
        places, found = self.candidates(asked, known)
        rated = rate(self._network, found)
        best = int(rated.argmax())
        sure = float(1 / (np.exp(-rated[best]) + np.exp(rated - rated[best]).sum()))
        return Match(places[best], sure) if sure >= LEAST_SURE else None

    def candidates(self, asked: str, known: KnownFacts) -> tuple[list[int], np.ndarray]:
        """Return the places of the nearest facts, and the evidence for each (C, E)."""
        likeness = (known.keys @ self.encoder.encode([asked])[0]).numpy()  # (3, G)
        whole = likeness[0]
        nearest = np.argsort(-(whole + likeness[1]), kind="stable")[:CLOSELY].tolist()
        words, rows = Words(asked), []
        for place in nearest:
            # A fact with the same answer is no rival.
            same = [f.answer == known.facts[place].answer for f in known.facts]
            rivals = whole[~np.array(same)]
            ahead = whole[place] - (rivals.max() if len(rivals) else 0.0)
            question, answer = known.words[place]
            alike = [*likeness[:, place].tolist(), float(ahead)]
            rows.append(evidence(words, question, answer, alike, self._vector))
        return nearest, np.array(rows, np.float32)

    def _vector(self, word: str) -> np.ndarray:
        found = self._vectors.get(word)
        if found is None:
            if len(self._vectors) >= MOST_WORDS:
                self._vectors.clear()
            found = self._vectors[word] = self.encoder.word(word)
        return found


def load_matcher(folder: Path = FOLDER) -> Matcher:
    """Load the shipped encoder and network.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    return Matcher(SentenceEncoder(folder), read_network(folder / "matcher.safetensors"))


def plain(question: str) -> str:
    """Bring a question into a form to compare: without case, spacing and its last marks."""
    return " ".join(question.casefold().split()).rstrip("?!.？！。 ")


def rate(network: Network, found: np.ndarray) -> np.ndarray:
    """Rate evidence (C, E) → (C,); what is above 0 is likelier than none.

    Args:
        network: mean (E,), deviation (E,), and of M networks, whose mean counts, inner (M, h, E),
            bias (M, h), outer (M, h), offset (M,).
        found: of each fact.
    """
    x = (found - network["mean"]) / network["deviation"]
    inner = np.tanh(np.einsum("mhe,ce->cmh", network["inner"], x) + network["bias"])
    rated = np.einsum("cmh,mh->cm", inner, network["outer"]) + network["offset"]
    return rated.mean(1)


def read_network(path: Path) -> Network:
    """Read the weights of `rate`.

    Raises:
        CheckpointError: the file is missing, damaged, or of other evidence.
    """
    try:
        network = load(path.read_bytes())
        models, hidden, size = network["inner"].shape
        shapes = {
            "mean": (size,), "deviation": (size,), "inner": (models, hidden, len(NAMES)),
            "bias": (models, hidden), "outer": (models, hidden), "offset": (models,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if network[name].shape != shape or not np.isfinite(network[name]).all():
                raise ValueError(name)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path.name}', which tells what a question asks for, is missing or damaged. Get the "
            "program again."
        ) from error
    return network
