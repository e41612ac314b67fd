"""Meta's `tokenizer.model`, a sentencepiece BPE → the tokenizers library's form."""

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPACE = "▁"


def read_sentencepiece(path: Path) -> tuple[Tokenizer, int, int]:
    """The same tokenizer, and its begin and end ids.

    Every text between two control tokens gets a space in front, as Meta's own code encodes it: a
    whole prompt after BOS, and each turn of Llama 2's chat.

    Raises:
        OSError, RuntimeError: not a sentencepiece model.
    """
    pieces = SentencePieceProcessor(model_file=str(path))
    names = [pieces.id_to_piece(token) for token in range(pieces.vocab_size())]
    normal = {
        name: token
        for token, name in enumerate(names)
        if not (pieces.is_control(token) or pieces.is_byte(token) or pieces.is_unknown(token))
    }
    scores = [pieces.get_score(token) for token in range(len(names))]
    model = models.BPE(
        vocab={name: token for token, name in enumerate(names)},
        merges=_merges(normal, scores),
        byte_fallback=True,
        fuse_unk=True,
        unk_token=names[pieces.unk_id()],
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    controls = [name for token, name in enumerate(names) if pieces.is_control(token)]
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in controls]
    )
    return tokenizer, pieces.bos_id(), pieces.eos_id()


def _merges(pieces: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
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
