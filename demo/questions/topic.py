"""Whether a message beside a picture is about the picture, or about something else.

An adapter that sees is taught to speak of what it sees, and its prompts change every answer a
little. So what has nothing to do with the picture is left to the base. A logistic regression on the
sentence encoder's vector and a few small words tells, of what points at nothing ("it", "this one");
whatever is not clearly otherwise is about the picture.

Its weights were fitted on questions that people asked about photographs and on ordinary ones
(`checkpoints/recipes/questions/topic.py`).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder

FILE = "topic.json"
SMALL = (
    r"\b(?:the)\b", r"\b(?:an?)\b", r"\b(?:you|your|see|look\w*)\b", r"\b(?:i|me|my|we|us|our)\b",
    r"\bthere\b", r"^(?:is|are|does|do|can|was|has)\b", r"\bcolou?rs?\b", r"^how many\b",
    r"\b(?:kind|type|sort|breed|animal|object|thing|name)\b", r"\?\s*$", r"(?<=\s)[A-Z]", r"\d",
)  # fmt: skip


@dataclass(frozen=True)
class TopicJudge:
    """Tells what messages are about; safe to use from several threads.

    Attributes:
        encoder: of messages.
        weights: (W + `SMALL`,) of the vector and of the small words.
        bias: above 0 is clearly about something else.
        likely: added where the last message was about something else too.
    """

    encoder: SentenceEncoder
    weights: Tensor
    bias: float
    likely: float

    def elsewhere(self, text: str, after: bool = False) -> bool:
        """Say whether a message has nothing to do with the picture in use.

        Args:
            text: the message.
            after: whether the one before had nothing to do with it.
        """
        found = topic_features(self.encoder, [" ".join(text.split())])[0] @ self.weights
        return float(found) + self.bias + self.likely * after > 0


def topic_features(encoder: SentenceEncoder, texts: Sequence[str]) -> Tensor:
    """Return the vector of each text and which small words it has, (N, W + `SMALL`)."""
    small = [
        [float(re.search(p, t if "[A-Z]" in p else t.lower()) is not None) for p in SMALL]
        for t in texts
    ]
    return torch.cat([encoder.encode(texts), torch.tensor(small) * 0.25], 1)


def read_weights(path: Path, size: int) -> tuple[Tensor, dict[str, Any]]:
    """Read the weights (`size`,) fp32 of a regression, and what else its file holds.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is missing, or no such file.
    """
    kept = json.loads(path.read_text("utf-8"))
    weights = torch.tensor(kept["weights"], dtype=torch.float32)
    if weights.shape != (size,) or not weights.isfinite().all():
        raise ValueError(path.name)
    return weights, kept


def load_topic_judge(encoder: SentenceEncoder, folder: Path = FOLDER) -> TopicJudge:
    """Read the shipped weights.

    Raises:
        CheckpointError: the file is missing, damaged, or of another encoder.
    """
    try:
        weights, kept = read_weights(folder / FILE, encoder.width + len(SMALL))
        return TopicJudge(encoder, weights, float(kept["bias"]), float(kept["likely"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{FILE}', which tells what a message is about, is missing or damaged. Get the "
            "program again."
        ) from error
