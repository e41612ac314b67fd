"""Text ↔ token ids: control tokens come only from the template, whole characters only come out.

Decoding goes by what each token writes, as bytes: characters may span tokens, bytes never do.
"""

import codecs
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama.tokenizer.chat_template import (
    PROMPTS,
    ChatTemplate,
    Message,
    PromptForm,
    TemplateSpan,
)

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # a byte that sentencepiece has no piece for


@dataclass(frozen=True)
class TokenizerSettings:
    """What `tokenizer.json` does not hold.

    Raises:
        CheckpointError: ids that are not whole numbers from 0.
    """

    chat_template: str | None = None  # Jinja, as Hugging Face has it
    bos: int | None = None
    eos: tuple[int, ...] = ()  # ids that end a reply
    add_bos: bool = False  # a text of this model begins with `bos`
    joined: tuple[str, ...] = ()  # control tokens that sentencepiece finds inside a text

    def __post_init__(self) -> None:
        object.__setattr__(self, "eos", tuple(self.eos))
        object.__setattr__(self, "joined", tuple(self.joined))
        ids = [*self.eos, *([] if self.bos is None else [self.bos])]
        if not all(type(token) is int and token >= 0 for token in ids):
            raise CheckpointError(
                f"The tokenizer's begin and end tokens are {ids!r:.80}, not ids. "
                "Fetch the model again."
            )


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer ready to be kept: the text of `tokenizer.json`, and the rest."""

    definition: str
    settings: TokenizerSettings


class TokenBytes:
    """The bytes of tokens, for the two ways LLaMA tokenizers spell them.

    Byte-level BPE writes each byte as one printable character; sentencepiece writes text with its
    spaces as `▁` and leaves single bytes as `<0xE2>`.

    Args:
        definition: the parsed `tokenizer.json`.

    Attributes:
        strips: a text of this tokenizer loses the one space that was put before it.

    Raises:
        CheckpointError: the tokenizer is of another kind.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        steps = list(_steps(definition.get("decoder")))
        kinds = {step["type"] for step in steps}
        if "ByteLevel" in kinds:
            self._alphabet: dict[str, int] | None = byte_alphabet()
        elif kinds & {"Metaspace", "ByteFallback"}:
            self._alphabet = None
        else:
            raise CheckpointError(
                "The model's tokenizer is neither byte-level nor sentencepiece, as a LLaMA's is. "
                "Fetch the model again, or choose another."
            )
        self.strips = any(
            (step["type"] == "Strip" and step.get("start"))
            or (step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never")
            for step in steps
        )

    def of(self, token: str) -> bytes:
        """Return the bytes that a token of the model's vocabulary, by its spelling, writes."""
        if self._alphabet is not None:
            # A character outside the alphabet is a token added as it reads.
            return b"".join(
                bytes((self._alphabet[c],)) if c in self._alphabet else c.encode() for c in token
            )
        single = BYTE_PIECE.fullmatch(token)
        return bytes.fromhex(single[1]) if single else token.replace("▁", " ").encode()


def byte_alphabet() -> dict[str, int]:
    """Map the printable character of byte-level BPE to the byte it stands for.

    Source: GPT-2's `bytes_to_unicode`.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    alphabet = {chr(byte): byte for byte in shown}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    yield decoder
    for step in decoder.get("decoders", ()):
        yield from _steps(step)


KEPT_PIECES, LONG_PIECE = 64, 65_536  # texts whose ids are kept, and characters of none of them
# Control tokens that end a turn in the LLaMA family, whatever a model's files say of them.
TURN_ENDS = ("</s>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>")


class Tokenizer:
    """A model's vocabulary and chat template. Calls may come from several threads.

    No id is ever added that the text or the template does not ask for: BOS too is the template's.

    Args:
        files: the text of `tokenizer.json`, and the settings beside it.

    Attributes:
        vocab: number of ids.
        controls: ids of the tokens with a meaning of their own, which no user text becomes.
        stop_ids: ids that end a reply.

    Raises:
        CheckpointError: the tokenizer or its template cannot be read.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        definition, settings = _parse(files.definition), files.settings
        self._bytes = TokenBytes(definition)
        added = definition["added_tokens"]
        self._controls = {token["content"]: token for token in added if _is_control(token)}
        self._added = {token["id"]: token for token in added}
        self._split = _matcher(self._controls)
        self._backends = _backends(definition, self._controls)
        self._plain = self._backends.first
        self._joined = frozenset(settings.joined)
        space = self._plain.token_to_id("▁") if settings.joined else None
        self._space = [] if space is None or not self._bytes.strips else [space]
        unknown = definition["model"].get("unk_token")
        ids = {text: token["id"] for text, token in self._controls.items()}
        self.controls = frozenset(token for text, token in ids.items() if text != unknown)
        self.stop_ids = frozenset((*settings.eos, *(ids[t] for t in TURN_ENDS if t in ids)))
        self.vocab = 1 + max((*_vocabulary(definition).values(), *self._added))
        # A model's own template writes BOS itself where it wants it; ours follows the tokenizer.
        bos = "" if settings.bos is None else self.token(settings.bos)
        eos = self.token(settings.eos[0]) if settings.eos else ""
        begins = settings.chat_template or settings.add_bos
        self._template = ChatTemplate(settings.chat_template, bos=bos if begins else "", eos=eos)
        self._bos, self._eos = bos, eos
        # A conversation is encoded again with each turn, and most of it is as it was.
        self._recent = lru_cache(maxsize=KEPT_PIECES)(self._piece_ids)

    def encode_text(self, text: str) -> list[int]:
        """Encode what a person wrote. `<|im_end|>` in it is ten ordinary characters.

        Lone surrogates, which no tokenizer takes, become U+FFFD.
        """
        return self.encode([TemplateSpan(text, trusted=False)])

    def chat(
        self,
        messages: Sequence[Message],
        generate: bool = True,
        *,
        form: PromptForm | None = None,
    ) -> list[int]:
        """Encode a conversation in the model's chat template.

        For messages without control tokens in them the ids are those of transformers'
        `apply_chat_template`.

        Args:
            messages: the turns, system first if there is one.
            generate: end with the opening of the assistant's reply.
            form: write it so instead, as an adapter was taught elsewhere.

        Raises:
            CheckpointError: the template refuses the conversation.
        """
        template = self._template
        if form:
            bos = self._bos if form.bos else ""
            template = ChatTemplate(PROMPTS[form.template], bos=bos, eos=self._eos)
        return self.encode(template.render(messages, generate=generate))

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids. Control tokens write nothing; bytes that are no UTF-8 become U+FFFD."""
        stream = self.stream()
        return "".join([*(stream.push(token) for token in ids), stream.finish()])

    def stream(self) -> "TextStream":
        """Make a decoder for a reply that comes one id at a time."""
        return TextStream(self)

    def token(self, id: int) -> str:  # noqa: A002 - the field's word
        """Return the spelling of a token in the vocabulary, empty for an id without one."""
        added = self._added.get(id)
        return added["content"] if added else (self._plain.id_to_token(id) or "")

    def token_bytes(self, id: int) -> bytes:  # noqa: A002
        """Return what a token writes: nothing for a control token, maybe part of a character."""
        added = self._added.get(id)
        if added:
            return b"" if added["special"] else added["content"].encode()
        return self._bytes.of(self._plain.id_to_token(id) or "")

    @property
    def strips_first_space(self) -> bool:
        """Sentencepiece puts a space before a text, which decoding takes away again."""
        return self._bytes.strips

    def encode(self, spans: Iterable[TemplateSpan]) -> list[int]:
        """Encode spans of a template and of texts.

        Control tokens are cut out of trusted spans first. The text between two of them is then
        tokenised as one piece, the template's and the person's together, by a tokenizer that knows
        no control token: so it reads as the model saw it in training, and no text can leave it.
        """
        ids: list[int] = []
        chunk: list[str] = []
        trim, place = False, "first"
        for span in spans:
            text = span.text
            if not text.isascii():
                text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            for piece in self._split.split(text) if span.trusted else [text]:
                control = self._controls.get(piece) if span.trusted else None
                if control is None:
                    chunk.append(piece)
                    continue
                before = "".join(chunk)
                before = before.lstrip() if trim else before
                ids += self._text_ids(before.rstrip() if control["lstrip"] else before, place)
                if piece in self._joined and not before and place != "inside":
                    ids += self._space  # of the text that begins with this token
                ids.append(control["id"])
                place = "inside" if piece in self._joined else "later"
                trim, chunk = control["rstrip"], []
        last = "".join(chunk)
        return [*ids, *self._text_ids(last.lstrip() if trim else last, place)]

    def _text_ids(self, text: str, place: str) -> Sequence[int]:
        return self._recent(text, place) if len(text) < LONG_PIECE else self._piece_ids(text, place)

    def _piece_ids(self, text: str, place: str) -> tuple[int, ...]:
        backend: Backend = getattr(self._backends, place)
        return tuple(backend.encode(text, add_special_tokens=False).ids) if text else ()


class TextStream:
    """Decode a reply while it grows; the pieces joined are `Tokenizer.decode` of all its ids.

    Ours, not `tokenizers.decoders.DecodeStream`: where a model writes a byte that is no UTF-8, that
    holds back all that follows, and what a broken-off reply ends with it never gives.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # It holds back the bytes of a character that is not complete yet.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = tokenizer.strips_first_space

    def push(self, id: int) -> str:  # noqa: A002
        """Return the text that this id completes, often none."""
        data = self._tokenizer.token_bytes(id)
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def finish(self) -> str:
        """Return what was held back: U+FFFD if the reply broke off inside a character."""
        return self._decoder.decode(b"", final=True)


def _parse(text: str) -> dict[str, Any]:
    try:
        definition = json.loads(text)
        definition = {**definition, "truncation": None, "padding": None, "post_processor": None}
        definition["added_tokens"] = definition.get("added_tokens") or []
        _vocabulary(definition)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged() from error
    return definition


def _vocabulary(definition: Mapping[str, Any]) -> dict[str, int]:
    """Spelling → id of the model's own tokens, without the added ones."""
    vocab = definition["model"]["vocab"]
    return (
        vocab if isinstance(vocab, dict) else {text: index for index, (text, _) in enumerate(vocab)}
    )


def _is_control(token: Mapping[str, Any]) -> bool:
    """Every special token, and every added one that is not a word or white space.

    Models mark `<think>` or `<tool_call>` as ordinary, and still read them as structure.
    """
    content = token["content"]
    return bool(content) and (token["special"] or not (content.isalnum() or content.isspace()))


def _matcher(controls: Iterable[str]) -> re.Pattern[str]:
    """Make what splits at control tokens and keeps them, the longest first."""
    spellings = sorted(controls, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, spellings))})" if spellings else r"(?!)")


class _Backends(NamedTuple):
    """Tokenizers that have no control token, by the place of a text among these."""

    first: Backend  # before all
    later: Backend  # after one
    inside: Backend  # after one that is joined


def _backends(definition: dict[str, Any], controls: Mapping[str, Any]) -> _Backends:
    """Make the tokenizers; those that would be alike are one."""
    plain = _without(definition, controls)
    later, inside = _unprefixed(plain), _unprepended(plain)
    # The library raises plain `Exception`.
    try:
        first = Backend.from_str(json.dumps(plain))
        others = (
            first if other is plain else Backend.from_str(json.dumps(other))
            for other in (later, inside)
        )
        return _Backends(first, *others)
    except Exception as error:
        raise _damaged() from error


def _without(definition: dict[str, Any], controls: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the control tokens from a tokenizer, and every merge into or from one.

    Not marking them as special would not do: some vocabularies hold them as pieces that merges
    could still build, or that match as whole words (`ignore_merges`).
    """
    model = dict(definition["model"])
    kept = set(controls) - {model.get("unk_token")}  # text of unknown characters needs it
    if isinstance(model["vocab"], dict):
        model["vocab"] = {text: token for text, token in model["vocab"].items() if text not in kept}
    else:  # ids are places, so they stay, by a name that nobody can type
        secret = secrets.token_hex(16)
        model["vocab"] = [
            [secret + text if text in kept or index == model.get("unk_id") else text, score]
            for index, (text, score) in enumerate(model["vocab"])
        ]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not _touches(pair, controls)]
    added = [token for token in definition["added_tokens"] if token["content"] not in controls]
    return {**definition, "model": model, "added_tokens": added}


def _touches(pair: str | list[str], controls: Mapping[str, Any]) -> bool:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left in controls or right in controls or left + right in controls


def _unprefixed(definition: dict[str, Any]) -> dict[str, Any]:
    """For pieces after the first: sentencepiece puts its space before the first one only."""
    step = definition.get("pre_tokenizer") or {}
    if step.get("type") != "Metaspace" or step.get("prepend_scheme") != "first":
        return definition
    return {**definition, "pre_tokenizer": {**step, "prepend_scheme": "never"}}


def _unprepended(definition: dict[str, Any]) -> dict[str, Any]:
    """For text that goes on after a joined token: no space is put before it."""
    steps = (definition.get("normalizer") or {}).get("normalizers", [])
    kept = [step for step in steps if step["type"] != "Prepend"]
    if len(kept) == len(steps):
        return definition
    return {**definition, "normalizer": {"type": "Sequence", "normalizers": kept}}


def _damaged() -> CheckpointError:
    return CheckpointError(
        "The model's tokenizer.json is damaged. Fetch the model again, or choose another."
    )
