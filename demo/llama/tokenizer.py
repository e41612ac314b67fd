"""Text ↔ token ids: control tokens come only from the template, whole characters only come out."""

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.llama.chat_template import ChatTemplate, Message, Span
from demo.llama.token_bytes import TokenBytes
from demo.llama.tokenizer_source import TokenizerFiles

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
        self._plain, self._later = _backends(definition, self._controls)
        unknown = definition["model"].get("unk_token")
        ids = {text: token["id"] for text, token in self._controls.items()}
        self.controls = frozenset(token for text, token in ids.items() if text != unknown)
        self.stop_ids = frozenset((*settings.eos, *(ids[t] for t in TURN_ENDS if t in ids)))
        self.vocab = 1 + max((*_vocabulary(definition).values(), *self._added))
        # A model's own template writes BOS itself where it wants it; ours follows the tokenizer.
        begins = settings.bos is not None and (settings.chat_template or settings.add_bos)
        self._template = ChatTemplate(
            settings.chat_template,
            bos=self.token(settings.bos) if begins else "",
            eos=self.token(settings.eos[0]) if settings.eos else "",
        )

    def encode_text(self, text: str) -> list[int]:
        """What a person wrote → ids. `<|im_end|>` in it is nine ordinary characters.

        Lone surrogates, which no tokenizer takes, become U+FFFD.
        """
        return self._encode([Span(text, trusted=False)])

    def encode_template(self, text: str) -> list[int]:
        """Our own text → ids, control tokens recognised by their spelling."""
        return self._encode([Span(text, trusted=True)])

    def chat(self, messages: Sequence[Message], generate: bool = True) -> list[int]:
        """A conversation in the model's chat template → ids.

        For messages without control tokens in them the ids are those of transformers'
        `apply_chat_template`.

        Args:
            messages: the turns, system first if there is one.
            generate: end with the opening of the assistant's reply.

        Raises:
            CheckpointError: the template refuses the conversation.
        """
        return self._encode(self._template.render(messages, generate=generate))

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → text. Control tokens write nothing; bytes that are no UTF-8 become U+FFFD."""
        stream = self.stream()
        return "".join([*(stream.push(token) for token in ids), stream.finish()])

    def stream(self) -> "TextStream":
        """A decoder for a reply that comes one id at a time."""
        return TextStream(self)

    def token(self, id: int) -> str:  # noqa: A002 - the field's word
        """The spelling of a token as the vocabulary has it, empty for an id without one."""
        added = self._added.get(id)
        return added["content"] if added else (self._plain.id_to_token(id) or "")

    def token_bytes(self, id: int) -> bytes:  # noqa: A002
        """What a token writes: nothing for a control token, maybe part of a character."""
        added = self._added.get(id)
        if added:
            return b"" if added["special"] else added["content"].encode()
        return self._bytes.of(self._plain.id_to_token(id) or "")

    @property
    def strips_first_space(self) -> bool:
        """Sentencepiece puts a space before a text, which decoding takes away again."""
        return self._bytes.strips

    def _encode(self, spans: Iterable[Span]) -> list[int]:
        """Spans → ids.

        Control tokens are cut out of trusted spans first. The text between two of them is then
        tokenised as one piece, the template's and the person's together, by a tokenizer that knows
        no control token: so it reads as the model saw it in training, and no text can leave it.
        """
        ids: list[int] = []
        chunk: list[str] = []
        trim = False
        for span in spans:
            text = span.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            for piece in self._split.split(text) if span.trusted else [text]:
                control = self._controls.get(piece) if span.trusted else None
                if control is None:
                    chunk.append(piece)
                    continue
                before = "".join(chunk)
                before = before.lstrip() if trim else before
                ids += self._text_ids(before.rstrip() if control["lstrip"] else before, bool(ids))
                ids.append(control["id"])
                trim, chunk = control["rstrip"], []
        last = "".join(chunk)
        return ids + self._text_ids(last.lstrip() if trim else last, bool(ids))

    def _text_ids(self, text: str, later: bool) -> list[int]:
        backend = self._later if later else self._plain
        return backend.encode(text, add_special_tokens=False).ids if text else []


class TextStream:
    """Decodes a reply while it grows; the pieces joined are `Tokenizer.decode` of all its ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # It holds back the bytes of a character that is not complete yet.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = tokenizer.strips_first_space

    def push(self, id: int) -> str:  # noqa: A002
        """The text that this id completes, often none."""
        data = self._tokenizer.token_bytes(id)
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What was held back: U+FFFD if the reply broke off inside a character."""
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
    """Splits at control tokens and keeps them, the longest first."""
    spellings = sorted(controls, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, spellings))})" if spellings else r"(?!)")


def _backends(definition: dict[str, Any], controls: Mapping[str, Any]) -> tuple[Backend, Backend]:
    """Tokenizers that have no control token: for the start of a text, and for later pieces."""
    plain = _without(definition, controls)
    later = _unprefixed(plain)
    try:
        first = Backend.from_str(json.dumps(plain))
        return first, first if later is plain else Backend.from_str(json.dumps(later))
    # The library raises plain `Exception`.
    except Exception as error:
        raise _damaged() from error


def _without(definition: dict[str, Any], controls: Mapping[str, Any]) -> dict[str, Any]:
    """The same tokenizer with the control tokens gone, and with them every merge into or from one.

    Not marking them as special would not do: some vocabularies hold them as pieces that merges
    could still build, or that match as whole words (`ignore_merges`).
    """
    model = dict(definition["model"])
    kept = set(controls) - {model.get("unk_token")}  # text of unknown characters needs it
    if isinstance(model["vocab"], dict):
        model["vocab"] = {text: token for text, token in model["vocab"].items() if text not in kept}
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


def _damaged() -> CheckpointError:
    return CheckpointError(
        "The model's tokenizer.json is damaged. Fetch the model again, or choose another."
    )
