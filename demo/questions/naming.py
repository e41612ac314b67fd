"""Whether a message beside a picture asks what it shows, in whatever words.

"name this", "who or what is that?", "main subject?": a small base that was taught to name what it
sees in some wordings talks on, or refuses, in others. So an adapter that was taught from a tree of
kinds reads all of them as the one it knows best, `WHAT_IS_THIS`. A logistic regression on the
sentence encoder's vector, a few small words, and how many words are none that such a question has,
tells; whatever is not clearly such a question is read as it was typed, and so are `TAUGHT_BEST`.

Its weights were fitted by `checkpoints/recipes/questions/naming.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder
from demo.questions.topic import SMALL, read_weights, topic_features

FILE = "naming.json"
WHAT_IS_THIS = "What is this?"
TAUGHT_BEST = (WHAT_IS_THIS, "What is in this picture?")  # the page asks the second one itself
WORD = re.compile(r"[a-z']+")
# "Who do you see?", but not "Who or what is it?"
PERSON = re.compile(r"^(?!.*\bwhat\b).*\bwho", re.DOTALL)
OTHERWISE = tuple(  # what asks for something else than a name
    re.compile(pattern)
    for pattern in (
        r"\b(?:kind|sort|type|class|category|family|group|breed|species|wider|file)\b",
        r"\b(?:where|when|why|whose|how)\b",
        r"\b(?:colou?r|many|written|write|say|text|read|sign)\b",
        r"^\W*(?:is|are|does|do|did|can|could|would|was|has|will)\b",
        r"\bor\b",
        r"\b(?:describe|caption|title|going on|happening|doing|about)\b",
        PERSON,
        r"\b(?:person|people|man|woman|guy|he|she|his|her|they|their)\b",
        r"\b(?:now|again|another|also|else|same|more|sorry|back)\b",
    )
)
FOREIGN = 3  # of words that no such question has, counted up to so many


@dataclass(frozen=True)
class NamingJudge:
    """Tells what messages ask; safe to use from several threads.

    Attributes:
        encoder: of messages.
        weights: (W + `SMALL` + `FOREIGN` + 1 + `OTHERWISE`,) fp32, of `naming_features`.
        bias: above 0 clearly asks what is shown.
        words: that questions for a name consist of, in lower case.
    """

    encoder: SentenceEncoder
    weights: Tensor
    bias: float
    words: frozenset[str]

    def asks(self, text: str) -> bool:
        """Say whether a message asks what the picture shows, and nothing else."""
        low = text.lower()
        if not WORD.search(low) or PERSON.search(low):
            return False  # nobody's name is ever known
        features = naming_features(self.encoder, [" ".join(text.split())], self.words)[0]
        return float(features @ self.weights) + self.bias > 0


def naming_features(
    encoder: SentenceEncoder, texts: Sequence[str], words: frozenset[str]
) -> Tensor:
    """Return the vector of each text, its small and foreign words, and its length, (N, features).

    Args:
        encoder: of W numbers a text.
        texts: N messages.
        words: that are not foreign.
    """
    low = [text.lower() for text in texts]
    foreign = [min(FOREIGN, sum(word not in words for word in WORD.findall(t))) for t in low]
    rows = [
        [
            *(float(many == count) for count in range(1, FOREIGN + 1)),
            min(len(text.split()), 20) / 10,
            *(float(pattern.search(text) is not None) for pattern in OTHERWISE),
        ]
        for text, many in zip(low, foreign, strict=True)
    ]
    return torch.cat([topic_features(encoder, texts), torch.tensor(rows) * 0.5], 1)


def load_naming_judge(encoder: SentenceEncoder, folder: Path = FOLDER) -> NamingJudge:
    """Read the shipped weights.

    Raises:
        CheckpointError: the file is missing, damaged, or of another encoder.
    """
    try:
        size = encoder.width + len(SMALL) + FOREIGN + 1 + len(OTHERWISE)
        weights, kept = read_weights(folder / FILE, size)
        return NamingJudge(encoder, weights, float(kept["bias"]), frozenset(kept["words"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{FILE}', which tells what a message asks of a picture, is missing or damaged. Get "
            "the program again."
        ) from error
