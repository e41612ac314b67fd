"""What an adapter must leave as it is: ordinary text, rehearsed while something else is taught.

An adapter's prompts are attended to by every token of every text. Taught a task alone, they change
all of them: the perplexity of ordinary text rose from 31 to 157 while appointments were learned. So
each step shows a few passages that the base wrote itself, and what the adapter changes there is
part of the loss.
"""

from pathlib import Path

from demo.finetune.examples import Example
from demo.llama.tokenizer import Tokenizer

PASSAGES = Path(__file__).parents[2] / "assets" / "rehearsal.txt"
TOKENS = 32  # of a passage


def passages(tokenizer: Tokenizer) -> tuple[Example, ...]:
    """Beginnings of ordinary texts."""
    texts = PASSAGES.read_text("utf-8").split("\n\n")
    ids = [tuple(tokenizer.encode_text(text)[: TOKENS + 1]) for text in texts]
    return tuple(Example(text[:-1], text[1:]) for text in ids)
