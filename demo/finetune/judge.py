"""The end of a run: what was gained on held-out rows, and what it costs on ordinary text."""

import base64
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.album import SeenPicture
from demo.finetune.evaluate import measure, perplexities
from demo.finetune.events import Compared, Judged
from demo.finetune.examples import Example
from demo.finetune.frozen import Frozen
from demo.finetune.probe import Decoding, Question, answers
from demo.llama.model import Llama
from demo.llama.tokenizer import Tokenizer
from demo.vision.media import thumbnail

ORDINARY = Path(__file__).parents[2] / "assets" / "ordinary.txt"
ORDINARY_TOKENS = 400
BESIDE = 6  # held-out rows shown side by side
THUMBNAIL = 128  # pixels, of the picture that such a row is about


def judge(
    model: Llama,
    tokenizer: Tokenizer,
    decoder: Decoding,
    adapter: Adapter,
    held_out: Sequence[Example],
    features: Tensor | None,
    asked: Sequence[Question],
    *,
    room: int,
    pictures: Sequence[SeenPicture] = (),
) -> Judged:
    """Measures with the adapter and without, by the same passes over the same rows.

    Args:
        asked: held-out rows to be shown side by side; the first `BESIDE` are.
        room: slots of the decoder.
        pictures: what the questions' `picture` points to.
    """
    metrics: dict[str, float] = {}
    frozen = Frozen(model, adapter.spec.layers, held_out)
    tokens = tokenizer.encode_text(ORDINARY.read_text("utf-8"))[:ORDINARY_TOKENS]
    texts = perplexities(model, adapter, tokens)
    for end, strength, ordinary in zip(("_base", ""), (0.0, 1.0), texts, strict=True):
        if held_out:
            found = measure(frozen, adapter, held_out, features, strength=strength)
            metrics["held_out_loss" + end] = round(found.loss, 4)
            metrics["held_out_exact" + end] = round(found.exact, 4)
        metrics["perplexity" + end] = round(ordinary, 3)
    rows: list[Compared] = []
    for start in range(0, min(len(asked), BESIDE), room):
        part = asked[start : min(start + room, BESIDE)]
        off, on = (
            answers(decoder, model, tokenizer, adapter, part, features, strength=strength)
            for strength in (0.0, 1.0)
        )
        shown = zip(part, off, on, strict=True)
        rows += [
            Compared(q.text, q.expected, base, taught, small(q, pictures))
            for q, base, taught in shown
        ]
    return Judged(metrics, tuple(rows))


def small(question: Question, pictures: Sequence[SeenPicture]) -> str:
    """The picture that a question is about, for the log: a few kilobytes. "" for none."""
    if question.picture is None or not pictures:
        return ""
    return base64.b64encode(thumbnail(pictures[question.picture].open(), THUMBNAIL)).decode()
