"""Token ids against the libraries that models were trained with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sentencepiece

from demo.background_task import ProgressCallback
from demo.llama.base import Base, open_base
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.loading import from_folder
from demo.llama.tokenizer.model_file import read_model_file
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.llama.weights.gguf import GGUFSource
from demo.llama.weights.huggingface import FolderSource
from demo.settings import ROOT
from tests.fixtures import encode_template
from tests.formats import train_sentencepiece, write_gguf

LICENSE = ROOT / "LICENSE"
TALK = (
    Message("system", "Be brief."),
    Message("user", "What is 12 + 7?\nAnd in  Roman numerals?"),
    Message("assistant", " 19, XIX \n"),
    Message("user", "\n\n日本語 🦙 don't"),
)
# Roles, BOS in each turn, trimming: Llama 2's way of writing a conversation.
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}{% elif m.role == 'assistant' %}"
    "{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def plain_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


@pytest.mark.parametrize("generate", [True, False])
@pytest.mark.parametrize("messages", [TALK, TALK[1:], TALK[1:2]])
def test_the_embedded_base_reads_as_transformers_does(
    embedded_base: Base, base_cache: Path, messages: Sequence[Message], generate: bool
) -> None:
    from transformers import PreTrainedTokenizerFast

    file = next(base_cache.glob("SmolLM2-135M-Instruct-*/tokenizer.json"))
    reference = PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="<|im_end|>")
    expected = reference.apply_chat_template(
        plain_dicts(messages),
        chat_template=TEMPLATE,
        add_generation_prompt=generate,
        return_dict=False,
    )
    assert embedded_base.tokenizer.chat(messages, generate) == expected


# As SmolLM2-135M-Instruct's card has it, the default system prompt included.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_folder_reads_as_transformers_does(
    tiny_llama_folder: Callable[..., Path], tmp_path: Path, no_progress: ProgressCallback
) -> None:
    from transformers import AutoTokenizer

    folder = tiny_llama_folder()
    found = open_base(str(folder), tmp_path, no_progress).tokenizer
    reference = AutoTokenizer.from_pretrained(folder)
    expected = reference.apply_chat_template(
        plain_dicts(TALK), add_generation_prompt=True, return_dict=False
    )
    assert found.chat(TALK) == expected


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sentencepiece model of Meta's kind, trained on the licence of this project."""
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    train_sentencepiece(path, LICENSE.read_text("utf-8").splitlines(), vocab=600)
    return path


def test_sentencepiece_ids_are_its_own(model_file: Path) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    tokenizer = Tokenizer(read_model_file(model_file, "tiny"))
    texts = [message.content for message in TALK] + ["</s> <s>", "  two", "a\tb", "<0x0A>", "é"]
    texts += LICENSE.read_text("utf-8").splitlines()
    for text in filter(None, texts):
        ids = tokenizer.encode_text(text)
        assert ids == reference.encode(text)
        assert tokenizer.decode(ids) == reference.decode(ids)


def test_each_turn_of_llama_2_begins_as_meta_encodes_it(model_file: Path) -> None:
    """Meta's `chat_completion`: every pair of turns is encoded alone, with BOS and EOS."""
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    (model_file.parent / "chat_template.jinja").write_text(LLAMA_2)
    tokenizer = Tokenizer(from_folder(model_file.parent, "tiny"))
    found = tokenizer.chat([Message("user", "hello"), Message("assistant", "yes"), TALK[1]])
    expected = [1, *reference.encode("[INST] hello [/INST] yes "), 2]
    expected += [1, *reference.encode(f"[INST] {TALK[1].content} [/INST]")]
    assert found == expected


def test_a_gguf_keeps_a_sentencepiece_vocabulary(
    model_file: Path, tiny_llama_folder: Callable[..., Path], tmp_path: Path
) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    source = FolderSource(tiny_llama_folder(vocab_size=600))
    path = write_gguf(tmp_path / "m.gguf", source, pieces=reference)
    files = GGUFSource(path).tokenizer
    assert files == read_model_file(model_file, "tiny")
    tokenizer = Tokenizer(files)
    for text in [message.content for message in TALK] + ["  two", "a\tb", "</s>"]:
        assert tokenizer.encode_text(text) == reference.encode(text)
    assert tokenizer.stop_ids == {2}
    assert tokenizer.chat([Message("user", "hi")])[0] == 1  # the plain template begins with BOS


@pytest.mark.parametrize("split", ["gpt-2", "llama-bpe"])
def test_a_gguf_keeps_a_byte_level_vocabulary(
    split: str, tiny_llama_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    path = write_gguf(tmp_path / "m.gguf", FolderSource(tiny_llama_folder()), split=split)
    reference = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    tokenizer = Tokenizer(GGUFSource(path).tokenizer)
    for text in [message.content for message in TALK] + ["a  b\r\n\tc", "12345 I'LL", "<|im_end|>"]:
        expected = reference.encode(text, add_special_tokens=False)
        assert encode_template(tokenizer, text) == expected
