"""Byte-level BPE, as a GGUF holds it → the tokenizers library's form."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

CONTROL, USER_DEFINED = 3, 4  # kinds of tokens, llama.cpp's own

# How text was split before merges were learned, by the name a GGUF gives it. A vocabulary read with
# another rule still works, but it reads worse than it was taught. Source: llama.cpp,
# `llama-vocab.cpp`, and the models' own tokenizer.json.
GPT_2 = ("gpt-2", "default")
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
LLAMA_3 = ("llama-bpe", "llama3", "llama-v3")
LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN = (*GPT_2, *SINGLE_DIGITS, *LLAMA_3)


def build(
    names: Sequence[str], merges: Sequence[str], kinds: Sequence[int], *, split: str
) -> Tokenizer:
    """A tokenizer from the tokens in the order of their ids.

    Args:
        merges: "left right", best first.
        split: one of `KNOWN`.
    """
    vocab = {name: token for token, name in enumerate(names)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    # Llama 3's vocabulary holds words that its merges do not reach.
    tokenizer = Tokenizer(models.BPE(vocab, pairs, ignore_merges=split in LLAMA_3))
    tokenizer.pre_tokenizer = _splitter(split)
    tokenizer.decoder = decoders.ByteLevel()
    for kind, add in (
        (CONTROL, tokenizer.add_special_tokens),
        (USER_DEFINED, tokenizer.add_tokens),
    ):
        add(
            [AddedToken(name, normalized=False) for i, name in enumerate(names) if kinds[i] == kind]
        )
    return tokenizer


def _splitter(split: str) -> pre_tokenizers.PreTokenizer:
    if split in LLAMA_3:
        rule = pre_tokenizers.Split(Regex(LLAMA_3_SPLIT), behavior="isolated")
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([rule, letters])
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split in SINGLE_DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), letters])
    return letters
