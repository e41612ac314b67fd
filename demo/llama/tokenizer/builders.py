"""Tokenizers of the two kinds that LLaMAs have, built from the parts that their files hold.

Sentencepiece's find the best pieces of a text whose spaces are `▁`; byte-level ones merge bytes by
a list. Ours, not transformers' conversion, which takes seconds to import and needs more memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

SPACE = "▁"
# Kinds of tokens; llama.cpp's are sentencepiece's own.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
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
KNOWN_SPLITS = (*GPT_2, *SINGLE_DIGITS, *LLAMA_3)


@dataclass(frozen=True)
class PieceRules:
    """How sentencepiece prepares a text, and finds its pieces.

    Attributes:
        unigram: the likeliest pieces are taken; else pairs are merged, the best first.
        prefix: a space is put before every text between two control tokens, as Meta's own code
            encodes it: a whole prompt after BOS, and each turn of Llama 2's chat.
        squeeze: spaces at the ends go, and several become one.
        characters: which characters become which, as sentencepiece compiles it.
    """

    unigram: bool = False
    prefix: bool = True
    squeeze: bool = False
    characters: bytes = b""


def build_sentencepiece(
    names: Sequence[str],
    scores: Sequence[float],
    kinds: Sequence[int],
    rules: PieceRules = PieceRules(),
) -> Backend:
    """Build a tokenizer from the pieces' spellings, scores and kinds, in the order of their ids."""
    unknown = next((i for i, kind in enumerate(kinds) if kind == UNKNOWN), None)
    bytes_known = BYTE in kinds
    model: models.Model
    if rules.unigram:
        model = models.Unigram(list(zip(names, scores, strict=True)), unknown, bytes_known)
    else:
        normal = {name: i for i, name in enumerate(names) if kinds[i] == NORMAL}
        model = models.BPE(
            vocab={name: i for i, name in enumerate(names)},
            merges=_merges(normal, scores),
            byte_fallback=bytes_known,
            fuse_unk=True,
            unk_token=None if unknown is None else names[unknown],
        )
    tokenizer = Backend(model)
    tokenizer.normalizer = normalizers.Sequence(_normalizers(rules))
    after = [decoders.Strip(" ", 1, 0)] if rules.prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return _with_added(tokenizer, names, kinds)


def _normalizers(rules: PieceRules) -> list[normalizers.Normalizer]:
    """In the order in which sentencepiece does it."""
    steps: list[normalizers.Normalizer] = []
    if rules.characters:
        steps.append(normalizers.Precompiled(rules.characters))
    if rules.squeeze:
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if rules.prefix:
        steps.append(normalizers.Prepend(SPACE))
    return [*steps, normalizers.Replace(" ", SPACE)]


def _with_added(tokenizer: Backend, names: Sequence[str], kinds: Sequence[int]) -> Backend:
    """Add control tokens and those a model's makers defined, which are never split."""
    for kind, add in (
        (CONTROL, tokenizer.add_special_tokens),
        (USER_DEFINED, tokenizer.add_tokens),
    ):
        add(
            [AddedToken(name, normalized=False) for i, name in enumerate(names) if kinds[i] == kind]
        )
    return tokenizer


def _merges(pieces: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Which pairs of pieces make a piece, best first: sentencepiece keeps only the scores.

    Pairs that make the same piece are tried in the order of their own ids, as in transformers'
    `SentencePieceExtractor`.
    """
    found = []
    for name, token in pieces.items():
        for cut in range(1, len(name)):
            left, right = name[:cut], name[cut:]
            if left in pieces and right in pieces:
                found.append((-scores[token], token, pieces[left], pieces[right], (left, right)))
    return [pair for *_, pair in sorted(found)]


def build_byte_level(
    names: Sequence[str], merges: Sequence[str], kinds: Sequence[int], *, split: str
) -> Backend:
    """Build a tokenizer from the tokens in the order of their ids.

    `merges` are "left right", best first; `split` is one of `KNOWN_SPLITS`.
    """
    vocab = {name: token for token, name in enumerate(names)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    # Llama 3's vocabulary holds words that its merges do not reach.
    tokenizer = Backend(models.BPE(vocab, pairs, ignore_merges=split in LLAMA_3))
    tokenizer.pre_tokenizer = _splitter(split)
    tokenizer.decoder = decoders.ByteLevel()
    return _with_added(tokenizer, names, kinds)


def _splitter(split: str) -> pre_tokenizers.PreTokenizer:
    if split in LLAMA_3:
        rule = pre_tokenizers.Split(Regex(LLAMA_3_SPLIT), behavior="isolated")
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([rule, letters])
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split in SINGLE_DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), letters])
    return letters
