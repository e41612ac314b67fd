"""A tokenizer that knows the words of a tower's captions and no others.

CLIP's own has 49,408 pieces, of which a tower of some hundred kinds is taught a few hundred: the
rest of that table would be most of a small model. This one is written beside the tower in
Hugging Face's format, where open_clip looks for it.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from demo.files import replace_file

PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"


def write_tokenizer(folder: Path, sentences: Iterable[str], size: int, context: int) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json` for all words of the sentences.

    Words are what stands between spaces, in lower case. [END] closes every sentence and has the
    highest number, `size` - 1: open_clip's text half is read there.

    Raises:
        ValueError: there are more words than `size` has room for.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({word for sentence in sentences for word in sentence.lower().split()})
    known = {PAD: 0, UNKNOWN: 1} | {word: number for number, word in enumerate(words, 2)}
    if len(known) >= size:
        raise ValueError(
            f"the captions have {len(words)} words; the config's vocab_size of {size} has room for "
            f"{size - 3}"
        )
    tokenizer = Tokenizer(models.WordLevel(known | {END: size - 1}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, size - 1)]
    )
    with replace_file(folder / TOKENIZER) as path:
        tokenizer.save(str(path))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    with replace_file(folder / SETTINGS) as path:
        names = {"pad_token": PAD, "unk_token": UNKNOWN, "eos_token": END}
        path.write_text(json.dumps(facts | names, indent=1) + "\n")
