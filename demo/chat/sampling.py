"""From logits to the next token: a pure function of logits, history, settings and a generator."""

import numpy as np

from demo.settings import Sampling


def choose(
    logits: np.ndarray, seen: np.ndarray, sampling: Sampling, random: np.random.Generator
) -> int:
    """The next token's id.

    Args:
        logits: (V,) fp32, left as it is.
        seen: ids of prompt and reply so far, which the repetition penalty weakens.
        sampling: temperature 0 takes the largest logit; else top-k, then top-p, then a draw.
        random: used only for a draw.
    """
    if sampling.repetition_penalty != 1 and len(seen):
        logits = penalised(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, probability = candidates(logits, sampling)
    return int(random.choice(ids, p=probability))


def penalised(logits: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """Logits of seen tokens weakened as in CTRL (arXiv 1909.05858, section 4.1).

    Positive ones are divided by the penalty, negative ones multiplied; how often a token was seen
    does not matter.
    """
    weaker = logits.copy()
    ids = np.unique(seen)
    weaker[ids] = np.where(weaker[ids] > 0, weaker[ids] / penalty, weaker[ids] * penalty)
    return weaker


def candidates(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may be drawn, likeliest first, and their probabilities (fp64, sum 1).

    Top-p keeps the fewest tokens whose probabilities reach it (nucleus sampling, arXiv 1904.09751).
    """
    keep = sampling.top_k or len(logits)
    ids = np.arange(len(logits))
    if keep < len(logits):
        ids = np.argpartition(logits, -keep)[-keep:]
    ids = ids[np.argsort(-logits[ids], kind="stable")]
    scaled = logits[ids].astype(np.float64) / sampling.temperature
    probability = np.exp(scaled - scaled[0])
    probability /= probability.sum()
    count = int(np.searchsorted(probability.cumsum(), sampling.top_p)) + 1
    probability = probability[:count]
    return ids[:count], probability / probability.sum()
