"""Sentencepiece BPE, from Meta's `tokenizer.model` or a GGUF → the tokenizers library's form."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPACE = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # kinds of pieces, sentencepiece's own


def read_sentencepiece(path: Path) -> tuple[Tokenizer, int, int]:
    """The tokenizer in a `tokenizer.model`, and its begin and end ids.

    Raises:
        OSError, RuntimeError: not a sentencepiece model.
    """
    # Imported here: a GGUF does without it.
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(path))
    tests = {UNKNOWN: pieces.is_unknown, CONTROL: pieces.is_control, BYTE: pieces.is_byte}
    ids = range(pieces.vocab_size())
    tokenizer = build(
        names=[pieces.id_to_piece(token) for token in ids],
        scores=[pieces.get_score(token) for token in ids],
        kinds=[next((k for k, test in tests.items() if test(token)), NORMAL) for token in ids],
    )
    return tokenizer, pieces.bos_id(), pieces.eos_id()


def build(
    names: Sequence[str], scores: Sequence[float], kinds: Sequence[int], *, prefix: bool = True
) -> Tokenizer:
    """A tokenizer from the pieces' spellings, scores and kinds, in the order of their ids.

    Args:
        prefix: put a space before every text between two control tokens, as Meta's own code
            encodes it: a whole prompt after BOS, and each turn of Llama 2's chat.
    """
    normal = {name: i for i, name in enumerate(names) if kinds[i] == NORMAL}
    unknown = next((name for i, name in enumerate(names) if kinds[i] == UNKNOWN), None)
    model = models.BPE(
        vocab={name: i for i, name in enumerate(names)},
        merges=_merges(normal, scores),
        byte_fallback=True,
        fuse_unk=True,
        unk_token=unknown,
    )
    tokenizer = Tokenizer(model)
    before = [normalizers.Prepend(SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
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
