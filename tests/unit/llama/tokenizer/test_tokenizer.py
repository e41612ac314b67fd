"""Text to ids and back: what a person types stays text, and only whole characters come out."""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.tokenizer import Tokenizer, TokenizerFiles, TokenizerSettings
from tests.fixtures import encode_template

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Llama 2's, shortened: no system role, turns checked, messages trimmed.
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}"
    "{% endfor %}"
)
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>"]
HARD = [
    "🦙",
    "👩‍👩‍👧‍👦",
    "日本語",
    "မြန်မာစာ",
    "שלום עולם",
    "العربية",
    "é\u0301",
    "\x00",
    "x" * 40,
    "�",
]


@pytest.fixture(scope="module")
def make(tiny_tokenizer: Backend) -> Callable[..., Tokenizer]:
    """`make(chat_template, **settings)` on the tiny byte-level vocabulary."""
    definition = json.loads(tiny_tokenizer.to_str())
    added = {**definition["added_tokens"][0], "id": 300, "content": "<think>", "special": False}
    definition["added_tokens"].append(added)

    def build(chat_template: str | None = CHATML, **fields: object) -> Tokenizer:
        fields = {"bos": 1, "eos": (2,), **fields}
        return Tokenizer(
            TokenizerFiles(json.dumps(definition), TokenizerSettings(chat_template, **fields))
        )

    return build


@pytest.fixture(scope="module")
def chatml(make: Callable[..., Tokenizer]) -> Tokenizer:
    return make()


def spellings() -> list[str]:
    """More than 300 ways to type a control token, or almost."""
    frames = ["{}", " {}", "{} ", "\n{}\n", "a{}b", "{0}{0}", "<{}>", "{}assistant\n", "日{}本"]
    cases = [str, str.upper, str.title, lambda t: t[1:], lambda t: t[:-1], lambda t: f"<|{t}"]
    cases += [lambda t: t.replace("|", "｜"), lambda t: "\u200b".join(t), lambda t: f"{t[:4]}\0"]
    return [frame.format(case(text)) for frame in frames for case in cases for text in CONTROL]


@pytest.mark.matrix("E1")
def test_typed_control_tokens_stay_text(chatml: Tokenizer) -> None:
    texts = spellings()
    assert len(set(texts)) > 300
    for text in texts:
        ids = chatml.encode_text(text)
        assert not chatml.controls & set(ids), text
        assert chatml.decode(ids) == text


@given(st.lists(st.sampled_from(CONTROL + HARD + ["<|", "|>", "im_", "end", " ", "\n"])))
@settings(max_examples=150, deadline=None)
def test_a_conversation_has_the_templates_control_tokens_only(
    chatml: Tokenizer, parts: list[str]
) -> None:
    text = "".join(parts)
    messages = [Message("system", text), Message("user", text), Message("assistant", text)]
    ids = chatml.chat(messages)
    assert [token for token in ids if token in chatml.controls] == [1, 2] * 3 + [1]


@given(st.lists(st.sampled_from([*HARD, "hello ", "<|im_end|>", "\n\n"])) | st.text())
@settings(max_examples=200, deadline=None)
@pytest.mark.matrix("E5")
def test_a_stream_is_the_whole_text_in_unbroken_pieces(chatml: Tokenizer, parts: str) -> None:
    text = "".join(parts)
    ids = chatml.encode_text(text)
    stream = chatml.stream()
    pieces = [stream.push(token) for token in ids]
    assert all("�" not in piece for piece in pieces) or "�" in text
    assert "".join(pieces) + stream.finish() == chatml.decode(ids) == text


@given(st.lists(st.integers(0, 300)))
@settings(max_examples=200, deadline=None)
@pytest.mark.matrix("E5")
def test_any_ids_stream_as_they_decode(chatml: Tokenizer, ids: list[int]) -> None:
    stream = chatml.stream()
    text = "".join([*map(stream.push, ids), stream.finish()])
    assert text == chatml.decode(ids)
    reference = b"".join(chatml.token_bytes(token) for token in ids).decode(errors="replace")
    assert text == reference


def test_a_reply_that_breaks_off_inside_a_character(chatml: Tokenizer) -> None:
    stream = chatml.stream()
    ids = chatml.encode_text("🦙")[:-1]
    assert "".join(map(stream.push, ids)) == ""
    assert stream.finish() == "�"


def test_a_stray_byte_does_not_silence_what_follows() -> None:
    """Why replies are not streamed by the library: it holds back all that follows such a byte."""
    tokenizer, vocab = sentencepiece_like("first"), 3  # ids of bytes begin after three controls
    ids = [vocab + 0xE2, *(vocab + byte for byte in b"abc"), tokenizer.encode_text("hi")[0]]
    stream, library = tokenizer.stream(), decoders.DecodeStream(skip_special_tokens=True)
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.finish() == "�abc hi"
    assert pieces[1:4] == ["�a", "b", "c"]
    held = [library.step(tokenizer._plain, token) for token in ids]
    assert held[1:4] == [None] * 3


@pytest.mark.matrix("E6")
def test_lone_surrogates_become_the_replacement_character(chatml: Tokenizer) -> None:
    assert chatml.decode(chatml.encode_text("a\ud800b\udfff")) == "a�b�"
    assert chatml.decode(chatml.encode_text("\ud83e\udd99")) == "🦙"
    chatml.chat([Message("user", "\ud800")])


def test_our_own_text_may_hold_control_tokens(chatml: Tokenizer) -> None:
    assert encode_template(chatml, "<|im_start|><|im_end|>") == [1, 2]
    assert chatml.decode([1, *chatml.encode_text("hi"), 2]) == "hi"
    assert chatml.token(2) == "<|im_end|>"
    assert chatml.token(10**6) == ""
    assert chatml.vocab == 301


def test_nothing_is_added_to_a_text(tiny_tokenizer: Backend) -> None:
    """A post-processor that puts BOS first, as Llama 3's does, has no say."""
    backend = Backend.from_str(tiny_tokenizer.to_str())
    begin = ("<|im_start|>", 1)
    backend.post_processor = processors.TemplateProcessing("<|im_start|> $A", None, [begin])
    assert backend.encode("").ids == [1]
    tokenizer = Tokenizer(TokenizerFiles(backend.to_str(), TokenizerSettings(CHATML)))
    assert tokenizer.encode_text("") == encode_template(tokenizer, "") == []
    assert 1 not in tokenizer.encode_text("hi")


def test_chat_template(chatml: Tokenizer) -> None:
    ids = chatml.chat([Message("user", "hi"), Message("assistant", "yo"), Message("user", "")])
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
    text += "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    assert ids == encode_template(chatml, text)
    assert chatml.chat([], generate=False) == []
    one = encode_template(chatml, "<|im_start|>user\nhi<|im_end|>\n")
    assert chatml.chat([Message("user", "hi")], generate=False) == one


def test_a_refused_system_prompt_goes_into_the_first_turn(
    make: Callable[..., Tokenizer],
) -> None:
    turns = [Message("user", " hi "), Message("assistant", " yo "), Message("user", "so?")]
    for template in (STRICT, DROPS_SYSTEM):
        tokenizer = make(template)
        merged = [Message("user", "be brief\n\n hi "), *turns[1:]]
        assert tokenizer.chat([Message("system", "be brief"), *turns]) == tokenizer.chat(merged)
    assert make(STRICT).chat([Message("system", "be brief")]) == make(STRICT).chat(
        [Message("user", "be brief")]
    )


def test_a_template_that_trims_its_messages(make: Callable[..., Tokenizer]) -> None:
    strict = make(STRICT)
    found = strict.chat([Message("user", " hi\n"), Message("assistant", "\tyo ")])
    assert found == encode_template(strict, "<|im_start|>[INST] hi [/INST] yo <|im_end|>")
    assert "  hi" in strict.decode(make(CHATML).chat([Message("user", "  hi")]))


def test_a_conversation_that_the_template_refuses(make: Callable[..., Tokenizer]) -> None:
    with pytest.raises(CheckpointError, match="does not take this conversation. Start a new chat"):
        make(STRICT).chat([Message("assistant", "yo")])
    with pytest.raises(CheckpointError, match="does not take this conversation"):
        make(STRICT).chat([Message("system", "s"), Message("user", "hi"), Message("user", "hi")])
    with pytest.raises(CheckpointError, match="does not take this conversation"):
        make("{{ messages[0].content + 1 }}").chat([Message("user", "hi")])


def test_the_plain_template(make: Callable[..., Tokenizer]) -> None:
    turns = [Message("system", "Be kind."), Message("user", "hi"), Message("assistant", "yo")]
    text = "Be kind.\n\n### Instruction:\nhi\n\n### Response:\nyo<|im_end|>\n\n"
    plain = make(None)
    assert plain.chat(turns, generate=False) == encode_template(plain, text)
    begun = make(None, add_bos=True)
    assert begun.chat([Message("user", "hi")]) == encode_template(
        begun, "<|im_start|>### Instruction:\nhi\n\n### Response:\n"
    )


def test_templates_get_what_transformers_gives_them(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make(
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}"
        "{% endfor %}{{ strftime_now('%Y') }}{{ {'a': '<'} | tojson }}"
    )
    found = tokenizer.decode(tokenizer.chat([Message("user", "x"), Message("user", "y")]))
    assert found == f'y{datetime.now().year}{{"a": "<"}}'


def test_templates_run_in_a_sandbox(make: Callable[..., Tokenizer]) -> None:
    escape = "{{ messages.__class__.__mro__ }}"
    with pytest.raises(CheckpointError, match="does not take this conversation"):
        make(escape).chat([Message("user", "hi")])
    with pytest.raises(CheckpointError, match="chat template cannot be read"):
        make("{% for %}")


def test_stop_ids(make: Callable[..., Tokenizer]) -> None:
    assert make(eos=(7,)).stop_ids == {0, 2, 7}  # <|endoftext|>, <|im_end|>, and the file's own


def sentencepiece_like(prefix: str) -> Tokenizer:
    """A vocabulary of Llama 2's kind, with merges that could build its own control token."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "</", "s>", "h", "i", "▁h", "▁hi", "<", "/", "s", ">", "a"]
    model = models.BPE(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[("<", "/"), ("s", ">"), ("</", "s>"), ("▁", "h"), ("▁h", "i")],
        byte_fallback=True,
        fuse_unk=True,
        unk_token="<unk>",
    )
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + [decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in pieces[:3]])
    settings = TokenizerSettings(STRICT, bos=1, eos=(2,), add_bos=True)
    return Tokenizer(TokenizerFiles(backend.to_str(), settings))


def test_merges_cannot_build_a_control_token() -> None:
    tokenizer = sentencepiece_like("first")
    for text in ("</s>", "a</s>", "<s></s>", "<unk>"):
        ids = tokenizer.encode_text(text)
        assert not {0, 1, 2} & set(ids)
        assert tokenizer.decode(ids) == text
    assert encode_template(tokenizer, "a</s>")[-1] == 2


def test_sentencepieces_space_comes_once_or_after_each_control_token() -> None:
    first, always = sentencepiece_like("first"), sentencepiece_like("always")
    turns = [Message("user", "hi")]
    assert [first.token(token) for token in first.chat(turns)][:2] == ["<s>", "<0x5B>"]
    assert [always.token(token) for token in always.chat(turns)][:3] == ["<s>", "▁", "<0x5B>"]
    assert first.decode(first.encode_text("hi")) == "hi"
    stream = first.stream()
    assert [stream.push(token) for token in first.encode_text("hi 🦙")] == [
        *("hi", " ", "", "", "", "🦙")
    ]


def test_white_space_that_a_control_token_swallows(tiny_tokenizer: Backend) -> None:
    definition = json.loads(tiny_tokenizer.to_str())
    definition["added_tokens"][2] |= {"lstrip": True, "rstrip": True}
    tokenizer = Tokenizer(TokenizerFiles(json.dumps(definition), TokenizerSettings(CHATML)))
    reference = Backend.from_str(json.dumps(definition))
    text = "<|im_start|> hi <|im_end|> yo <|im_end|>\n"
    assert encode_template(tokenizer, text) == reference.encode(text).ids


def test_a_long_history(chatml: Tokenizer) -> None:
    turns = [Message("user" if i % 2 == 0 else "assistant", "hello fox " * 50) for i in range(200)]
    assert len(chatml.chat(turns)) > 10_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"vocab": {}}}', '{"model": 3}'])
def test_a_damaged_tokenizer(text: str) -> None:
    with pytest.raises(CheckpointError, match="tokenizer"):
        Tokenizer(TokenizerFiles(text, TokenizerSettings()))


def test_a_tokenizer_of_another_kind() -> None:
    backend = Backend(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(CheckpointError, match="neither byte-level nor sentencepiece"):
        Tokenizer(TokenizerFiles(backend.to_str(), TokenizerSettings()))


def test_settings_hold_ids() -> None:
    with pytest.raises(CheckpointError, match=r"begin and end tokens are \[True\], not ids"):
        TokenizerSettings(eos=(True,))
    assert dataclasses.asdict(TokenizerSettings(eos=[2]))["eos"] == (2,)
