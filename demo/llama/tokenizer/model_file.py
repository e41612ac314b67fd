"""A `tokenizer.model` alone, of the two kinds that have this name → a tokenizer and its settings.

Sentencepiece's, as LLaMA 1 and 2 have it, holds pieces and the rules for using them; Llama 3's is
a list of byte strings in the order in which they are merged, as tiktoken reads it.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama.tokenizer.builders import (
    CONTROL,
    NORMAL,
    USER_DEFINED,
    PieceRules,
    build_byte_level,
    build_sentencepiece,
)
from demo.llama.tokenizer.tokenizer import TokenizerFiles, TokenizerSettings, byte_alphabet

UNIGRAM, BPE = 1, 2  # sentencepiece's numbers for its models
# Llama 3's control tokens follow its byte strings; the rest of 256 is reserved. Names that came
# with Llama 3.1 stand in places that Llama 3 had reserved.
LLAMA_3_CONTROLS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>"),
    *("<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
)
LLAMA_3_COUNT = 256
# As Meta's `ChatFormat` writes it. Its folders do not say which model was taught to talk, but their
# names do.
LLAMA_3_CHAT = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TALKS = ("instruct", "chat")


def read_model_file(path: Path, name: str) -> TokenizerFiles:
    """Read a `tokenizer.model`.

    Args:
        path: of the file.
        name: of the model, for messages and for whether it was taught to talk.

    Raises:
        CheckpointError: it is damaged, or finds pieces in a way that is not known here.
    """
    try:
        data = path.read_bytes()
        ranks = _ranks(data)
        return _llama_3(ranks, name) if ranks else _sentencepiece(data, name)
    # A damaged file fails wherever it happens to; sentencepiece raises several types.
    except (OSError, RuntimeError, ValueError, LookupError, struct.error) as error:
        raise CheckpointError(
            f"The tokenizer.model of {name} is damaged: it is neither sentencepiece's nor Llama "
            "3's. Fetch the model again."
        ) from error


def with_added_tokens(definition: str, added: Mapping[int, Mapping[str, Any]]) -> str:
    """Add tokens by their ids to a tokenizer's definition, or change those that it has.

    Args:
        definition: the text of a `tokenizer.json`.
        added: fields by id, as `added_tokens_decoder` has them.
    """
    if not added:
        return definition
    fields = json.loads(definition)
    tokens = {token["id"]: token for token in fields["added_tokens"]}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for token, own in added.items():
        content = {"content": own["content"], "special": bool(own.get("special", True))}
        sides = {side: bool(own.get(side, False)) for side in ("lstrip", "rstrip")}
        tokens[token] = {"id": token, **plain, **content, **sides}
    fields["added_tokens"] = [tokens[token] for token in sorted(tokens)]
    return json.dumps(fields)


def _sentencepiece(data: bytes, name: str) -> TokenizerFiles:
    # Imported here: a GGUF does without it.
    from sentencepiece import SentencePieceProcessor

    checked = SentencePieceProcessor(model_proto=data)
    parts: dict[int, list[Any]] = {}
    for number, value in _fields(data):
        parts.setdefault(number, []).append(value)
    pieces = [dict(_fields(piece)) for piece in parts[1]]
    names = [piece[1].decode() for piece in pieces]
    kinds = [piece.get(3, NORMAL) for piece in pieces]
    trained, prepared = (dict(_fields(parts.get(n, [b""])[0])) for n in (2, 3))
    model = trained.get(3, UNIGRAM)
    # Spaces after words, or as they are, are nothing a LLaMA has.
    if model not in (UNIGRAM, BPE) or trained.get(24) or not prepared.get(5, 1):
        raise CheckpointError(
            f"The tokenizer.model of {name} splits texts in a way that no LLaMA does, and that is "
            "not known here. Use a folder of the same model that has a tokenizer.json."
        )
    rules = PieceRules(
        unigram=model == UNIGRAM,
        prefix=bool(prepared.get(3, 1)),
        squeeze=bool(prepared.get(4, 1)),
        characters=prepared.get(2, b""),
    )
    scores = [_real(piece.get(2, b"\0\0\0\0")) for piece in pieces]
    backend = build_sentencepiece(names, scores, kinds, rules)
    own = tuple(name for name, kind in zip(names, kinds, strict=True) if kind == USER_DEFINED)
    bos, eos = checked.bos_id(), checked.eos_id()
    return TokenizerFiles(
        backend.to_str(),
        TokenizerSettings(
            bos=bos if bos >= 0 else None,
            eos=(eos,) if eos >= 0 else (),
            add_bos=bos >= 0,
            joined=own,
        ),
    )


def _real(value: bytes) -> float:
    return struct.unpack("<f", value)[0]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Read a protocol buffer: numbers as they are, texts, messages and fractions as bytes.

    Ours, not protobuf's: the classes that come with sentencepiece refuse every protobuf that is
    older than the one they were made with, and the library tells all but these ten numbers.
    """
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    sizes = {1: 8, 5: 4}
    while at < len(data):
        key = number()
        field, kind = key >> 3, key & 7
        if kind == 0:
            yield field, number()
            continue
        size = number() if kind == 2 else sizes[kind]
        at += size
        yield field, data[at - size : at]


def _ranks(data: bytes) -> dict[bytes, int]:
    """Read Llama 3's list, `base64 rank` a line; empty if it is no such list."""
    if b"\0" in data[:4096]:
        return {}
    try:
        lines = [line.split() for line in data.splitlines() if line.strip()]
        return {base64.b64decode(text, validate=True): int(rank) for text, rank in lines}
    except (ValueError, binascii.Error):
        return {}


def _llama_3(ranks: Mapping[bytes, int], name: str) -> TokenizerFiles:
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError("ranks that leave some out")
    letters = {byte: letter for letter, byte in byte_alphabet().items()}

    def spelled(text: bytes) -> str:
        return "".join(letters[byte] for byte in text)

    merges: list[str] = []
    ordered = sorted(ranks, key=ranks.__getitem__)
    for text in ordered:
        cuts = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
        known.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [f"{spelled(left)} {spelled(right)}" for left, right in known]
    rest = LLAMA_3_COUNT - len(LLAMA_3_CONTROLS)
    controls = [
        *LLAMA_3_CONTROLS,
        *(f"<|reserved_special_token_{index}|>" for index in range(3, 3 + rest)),
    ]
    names = [*map(spelled, ordered), *controls]
    kinds = [NORMAL] * len(ordered) + [CONTROL] * len(controls)
    backend: Backend = build_byte_level(names, merges, kinds, split="llama-bpe")
    talks = any(word in name.lower() for word in TALKS)
    first = len(ordered)
    eos = first + LLAMA_3_CONTROLS.index("<|eot_id|>" if talks else "<|end_of_text|>")
    return TokenizerFiles(
        backend.to_str(),
        TokenizerSettings(
            chat_template=LLAMA_3_CHAT if talks else None, bos=first, eos=(eos,), add_bos=True
        ),
    )
