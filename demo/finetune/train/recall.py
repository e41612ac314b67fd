"""Which taught fact an example's question asks for, as the chat will find it.

At the end of a run its questions go the way that a visitor's will: by their text to a fact or to
none, not by the row that they came from.
"""

from collections.abc import Callable
from dataclasses import replace

from demo.finetune.data.examples import Example
from demo.finetune.data.fact_rows import PooledFacts
from demo.finetune.train.loss import unrehearsed_by_text
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.matcher import Matcher, load_matcher

Recall = Callable[[Example], Example]


def make_recall(
    pool: PooledFacts, tokenizer: Tokenizer, load: Callable[[], Matcher] = load_matcher
) -> Recall:
    """Return what gives an example the place of the fact that its question asks for, or none.

    It knows the rows that were kept out and the ordinary questions that are not rehearsed.

    Args:
        pool: of the run.
        tokenizer: of the base, which made the examples.
        load: gives the matcher.
    """
    matcher = load()
    known = matcher.known(pool.facts)
    texts = {text: said for said, text in unrehearsed_by_text(tokenizer).items()}
    for row in pool.kept_out:
        texts[replace(row.example, picture=None)] = row.conversation.exchanges[0].question

    def recall(example: Example) -> Example:
        match = matcher.match(texts[replace(example, picture=None)], known)
        return replace(example, picture=match.place if match else None)

    return recall
