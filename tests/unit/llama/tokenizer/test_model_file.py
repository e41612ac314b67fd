"""A `tokenizer.model` by itself gives the ids that its own library gives."""

import base64
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from demo.errors import CheckpointError
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.loading import fit, from_folder
from demo.llama.tokenizer.model_file import LLAMA_3_COUNT, read_model_file
from demo.llama.tokenizer.tokenizer import Tokenizer, byte_alphabet
from tests.fixtures import TEXT, encode_template
from tests.formats import train_sentencepiece

LINES = [TEXT, TEXT.title(), "He said: hello! (12, 345) and then some more words of this world"] * 9
SAMPLES = (
    "the quick brown fox",
    "two  spaces\n    indented",
    " at both ends ",
    "Ａ ﬁne ½ café",
    "日本 🦙\t!",
    "say <|im_start|>fox",
)
KINDS: dict[str, dict[str, Any]] = {
    "as Meta's": {},
    "unigram": {"model_type": "unigram"},
    "its characters normalised": {
        "normalization_rule_name": "nmt_nfkc",
        "remove_extra_whitespaces": True,
    },
    "without a space in front": {"add_dummy_prefix": False},
    "with pieces of its makers": {"user_defined_symbols": ["<|im_start|>", "<|im_end|>"]},
}


@pytest.fixture(scope="module", params=KINDS)
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One kind of sentencepiece model, small."""
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    train_sentencepiece(path, LINES, vocab=310, **KINDS[request.param])
    return path


def test_ids_are_sentencepieces(model_file: Path) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    tokenizer = Tokenizer(read_model_file(model_file, "tiny"))
    for text in (*SAMPLES, *LINES[:3]):
        ids = encode_template(tokenizer, text)
        assert ids == reference.encode(text)
        assert tokenizer.decode(ids) == reference.decode(ids)


def test_what_is_typed_is_no_control_token(model_file: Path) -> None:
    tokenizer = Tokenizer(read_model_file(model_file, "tiny"))
    for text in ("</s>", "a <s> b", "<unk>", "<|im_start|>fox"):
        ids = tokenizer.encode_text(text)
        assert not tokenizer.controls & set(ids)
        assert 0 not in ids  # what is unknown
        assert tokenizer.decode(ids) == text


def test_added_tokens_of_a_folder(tmp_path: Path) -> None:
    """As models of 2023 have them: beside `tokenizer.model`, without a tokenizer.json."""
    train_sentencepiece(tmp_path / "tokenizer.model", LINES, vocab=310)
    added = {"<|im_end|>": 310, "<|im_start|>": 311}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    )
    settings = {"eos_token": "<|im_end|>", "chat_template": template}
    settings["added_tokens_decoder"] = {"311": {"content": "<|im_start|>", "rstrip": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = Tokenizer(fit(from_folder(tmp_path, "x"), 312, "x"))
    ids = tokenizer.chat([Message("user", "fox <|im_end|>")], generate=False)
    assert ids[0] == 311 and ids[-1] == 310 and ids.count(310) == 1
    assert 310 in tokenizer.stop_ids
    assert tokenizer.vocab == 312


def write_ranks(path: Path, texts: list[bytes]) -> None:
    """As tiktoken keeps them: bytes first, then what they are merged to."""
    tokens = [bytes((byte,)) for byte in range(256)] + texts
    lines = [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]
    path.write_bytes(b"\n".join(lines) + b"\n")


def ranked_ids(text: bytes, ranks: dict[bytes, int]) -> list[int]:
    """What tiktoken does with a word that it does not know whole: merge the lowest rank first."""
    if text in ranks:
        return [ranks[text]]
    parts = [bytes((byte,)) for byte in text]
    while len(parts) > 1:
        pairs = [(ranks.get(a + b, 10**9), i) for i, (a, b) in enumerate(itertools.pairwise(parts))]
        rank, at = min(pairs)
        if rank == 10**9:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [ranks[part] for part in parts]


LLAMA_3_TEXTS = [b"th", b"the", b" qu", b"in", b"re", b"er", b" f", b"ox", b" fox", b"ing", b"123"]


def test_llama_3s_list_of_ranks(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    write_ranks(path, LLAMA_3_TEXTS)
    tokenizer = Tokenizer(read_model_file(path, "Meta-Llama-3-8B"))
    assert tokenizer.vocab == 256 + len(LLAMA_3_TEXTS) + LLAMA_3_COUNT
    ranks = {bytes((byte,)): byte for byte in range(256)}
    ranks |= {text: 256 + rank for rank, text in enumerate(LLAMA_3_TEXTS)}
    for words in (["the", " foxing"], ["reth"], [" quinther"], ["123", "45"], ["日本"]):
        text = "".join(words)
        expected = [token for word in words for token in ranked_ids(word.encode(), ranks)]
        assert tokenizer.encode_text(text) == expected
        assert tokenizer.decode(expected) == text
    assert not tokenizer.controls & set(tokenizer.encode_text("<|eot_id|>"))


def test_a_llama_3_that_was_taught_to_talk_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    write_ranks(path, LLAMA_3_TEXTS)
    tokenizer = Tokenizer(read_model_file(path, "Meta-Llama-3-8B-Instruct"))
    spelled = [tokenizer.token(token) for token in tokenizer.chat([Message("user", " x ")])]
    letters = {byte: letter for letter, byte in byte_alphabet().items()}
    assert spelled[:2] == ["<|begin_of_text|>", "<|start_header_id|>"]
    assert "x" in spelled and letters[32] not in spelled  # trimmed, as Meta's own code does
    assert spelled.count("<|eot_id|>") == 1
    assert spelled.count("<|end_header_id|>") == 2
    plain = Tokenizer(read_model_file(path, "Meta-Llama-3-8B"))
    assert "<|start_header_id|>" not in [plain.token(i) for i in plain.chat([Message("user", "x")])]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"IQ== 0\nIg== 7\n",
        lambda data: b"PK\3\4" + data,
    ],
)
def test_a_damaged_file(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    train_sentencepiece(path, LINES, vocab=310)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.model of tiny is damaged: it is neither"
    ):
        read_model_file(path, "tiny")


def test_pieces_that_no_llama_has(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    train_sentencepiece(path, LINES, vocab=310, treat_whitespace_as_suffix=True)
    with pytest.raises(CheckpointError, match="splits texts in a way that no LLaMA does"):
        read_model_file(path, "tiny")


def test_unigram_keeps_the_places_of_its_pieces(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    train_sentencepiece(path, LINES, vocab=310, model_type="unigram")
    files = read_model_file(path, "tiny")
    assert not isinstance(Backend.from_str(files.definition).model, BPE)
    tokenizer = Tokenizer(files)
    assert [tokenizer.token(token) for token in (1, 2)] == ["<s>", "</s>"]
    assert tokenizer.vocab == 310
