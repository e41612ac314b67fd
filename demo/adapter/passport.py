"""The file of an adapter: its header, the passport in it, and the checks of its tensors.

The file is safetensors and describes itself by the passport, one JSON text in its header. Its
tensors are the adapter's own, by name, and nothing of the base. Format version 1, in the sizes of
`adapter.py`:

    prompts (L, K, D) fp32, gate (L, H) fp32, and for images
    visual.mean (S,), visual.deviation (S,), visual.inner.{weight,bias}, visual.outer.{weight,bias}

A memory (`key-value-memory`) has, instead of `visual.inner` and `visual.outer`,

    visual.keys.{weight,bias}, visual.values.weight, visual.outer.weight, visual.sharpness (Q,)

A query transformer has beside them `visual.{inner,outer}_norm`, `visual.queries` (Q, h), and in
each of `visual.blocks.N` `attention_norm`, `qkv`, `mixed`, `mlp_norm`, `inner` and `outer`.

An adapter that knows facts has no prompts of its own (K is 0 there) but `pool.groups.N` (L, K, D),
one for each fact, whose question and answer are in the passport.

A file is read against this template: any other name, shape or type, or a value that is not finite,
is refused before the adapter is used. The header's `sha256` is that of passport and tensors, so a
file that changed on its way is refused as well; files from before there was one have none.

Bytes are read whole and never mapped. Whoever puts a file here may still be writing it, and a
mapped file that gets shorter kills the process when it is touched; safetensors reads a header alone
only by mapping. The passport is read without the tensors and without torch: the page lists a folder
of adapters before torch is there.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from safetensors import SafetensorError

from demo.adapter.config import AdapterSpec
from demo.errors import CheckpointError
from demo.llama.tokenizer.chat_template import PromptForm
from demo.questions.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MAX_PASSPORT = 500_000  # characters; ours have about a thousand, and the facts
MAX_FACTS_TEXT = 400_000  # characters, of all facts as JSON
MAX_BYTES = 3 * 2**30  # a bridge from ImageBind alone has 608 million numbers
MAX_HEADER = 2**20  # bytes; ours have about ten thousand
MAX_VALUE = 1e4  # no trained prompt, gate or projection comes near; overflow starts beyond
LENGTH = struct.Struct("<Q")  # of the header, at the beginning of the file


@dataclass(frozen=True)
class Header:
    """What a safetensors file says it holds.

    Attributes:
        metadata: texts by name.
        tensors: kind, as safetensors spells it ("F32"), and shape, by name.
    """

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]


class AdapterCard(TypedDict):
    """What a visitor sees of an adapter, on the page and from `/adapters`."""

    name: str
    description: str
    modalities: list[str]
    parameters: int
    base: str


@dataclass(frozen=True)
class Origin:
    """Whence an adapter that somebody else released was read, and how they used it.

    Attributes:
        file: its name there.
        sha256: of it.
        kind: of release, in words.
        prompt: how they wrote their prompts; conversations with the adapter are written likewise.
            None where nothing says: as the base has it.
        sampling: their settings, by the names of `demo.settings.Sampling`.
        note: what the file leaves open, and how it was taken; "" where nothing is.

    Raises:
        TypeError: fields of other types.
    """

    file: str
    sha256: str
    kind: str
    prompt: PromptForm | None
    sampling: dict[str, float]
    note: str = ""

    def __post_init__(self) -> None:
        texts = (self.file, self.sha256, self.kind, self.note)
        numbers = self.sampling.values() if isinstance(self.sampling, dict) else (None,)
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(number, int | float) for number in numbers
        ):
            raise TypeError("not an origin")

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "Origin":
        """Read the passport's fields.

        Raises:
            CheckpointError: prompts in a form that this version does not know.
            TypeError: fields that are missing, unknown, or of other types.
            KeyError: `prompt` is missing.
        """
        fields = dict(raw)
        prompt = fields.pop("prompt")
        return cls(prompt=None if prompt is None else PromptForm(**prompt), **fields)


@dataclass(frozen=True)
class Passport:
    """What a program or a person must know of an adapter before using it.

    Validated by hand: pydantic would wrap each sentence for the visitor in its own report.

    Raises:
        CheckpointError: another format, or fields that contradict each other.
    """

    name: str
    description: str
    base: str
    base_fingerprint: str
    spec: AdapterSpec
    tower: str | None = None
    tower_fingerprint: str | None = None
    preprocessing: dict[str, Any] | None = None  # size, mean, std, channel order
    template: str = ""  # fingerprint of the chat template it was taught with
    data: str = ""
    data_fingerprint: str = ""
    examples: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    license: str = ""
    format: int = FORMAT
    origin: Origin | None = None  # of an adapter that somebody else released
    facts: tuple[tuple[str, str], ...] = ()  # question and answer of each group of its pool
    taxonomy: Taxonomy | None = None  # of the kinds that its pictures show

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise CheckpointError(
                f"This adapter file has format {self.format!r}; this version reads {FORMAT}. "
                "Update the program or save the adapter anew."
            )
        for text in (self.name, self.base, self.base_fingerprint):
            if not (isinstance(text, str) and 0 < len(text) <= 200):
                raise CheckpointError(
                    "This adapter's passport lacks its name or its base. It cannot be used safely."
                )
        for text in (self.description, self.template, self.data, self.license):
            if not isinstance(text, str):
                raise CheckpointError(
                    "This adapter's passport describes it in something else than text. It is "
                    "damaged; get it again."
                )
        texts = [text for fact in self.facts for text in fact]
        if len(self.facts) != self.spec.facts or not all(isinstance(t, str) and t for t in texts):
            raise CheckpointError(
                f"This adapter's passport names {len(self.facts)} facts for {self.spec.facts} "
                "groups of prompts, or something else than texts. It is damaged; get it again."
            )
        if (self.spec.visual is None) != (self.tower_fingerprint is None):
            raise CheckpointError(
                "This adapter's passport names a vision tower without a visual projection, or the "
                "other way round. It is damaged; get it again."
            )

    @property
    def card(self) -> AdapterCard:
        """The part that a visitor sees."""
        return AdapterCard(
            name=self.name,
            description=self.description,
            modalities=list(self.modalities),
            parameters=self.spec.parameters,
            base=self.base,
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """("text",) or ("text", "image")."""
        return ("text", "image") if self.spec.visual else ("text",)

    def to_json(self) -> str:
        """Write the text of the file's header."""
        # Not `asdict` of a tree, which would copy each of its words.
        raw = asdict(replace(self, taxonomy=None)) | {"spec": self.spec.to_json()}
        if self.origin is None:  # which came later
            del raw["origin"]
        elif not self.origin.note:  # which came later still
            del raw["origin"]["note"]
        if not self.facts:
            del raw["facts"]
        if self.taxonomy is None:
            del raw["taxonomy"]
        else:
            raw["taxonomy"] = self.taxonomy.to_json()
        return json.dumps(raw, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Passport":
        """Read the text of a file's header.

        Raises:
            CheckpointError: it is not a passport of this format.
        """
        try:
            if len(text) > MAX_PASSPORT:
                raise ValueError(f"{len(text)} characters")
            raw = json.loads(text)
            spec, origin = AdapterSpec.from_json(raw.pop("spec")), raw.pop("origin", None)
            facts = tuple((question, answer) for question, answer in raw.pop("facts", ()))
            kinds = raw.pop("taxonomy", None)
            return cls(
                **raw,
                spec=spec,
                origin=Origin.from_json(origin) if origin else None,
                facts=facts,
                taxonomy=Taxonomy.from_json(kinds) if kinds else None,
            )
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                "This adapter's passport cannot be read. It is damaged or from another program; "
                "get the file again or teach the adapter anew."
            ) from error


def read_passport(path: Path) -> Passport:
    """Read the passport alone, from the header.

    Raises:
        CheckpointError: not a safetensors file, too large, or without a readable passport.
    """
    return passport_of(read_header(path), path.name)


def read_name(path: Path) -> str:
    """Read an adapter's name alone: a thousand whole passports take seconds.

    Raises:
        CheckpointError: as `read_header`, or no name is there.
    """
    text = read_header(path).metadata.get("passport", "")
    try:
        return str(json.loads(text[: MAX_PASSPORT + 1])["name"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CheckpointError(f"'{path.name}' says no name.") from error


def passport_of(header: Header, file: str) -> Passport:
    """Read the passport in a header.

    Args:
        header: of an adapter's file.
        file: its name, for messages.

    Raises:
        CheckpointError: there is no readable passport.
    """
    text = header.metadata.get("passport")
    if text is None:
        raise CheckpointError(
            f"'{file}' holds weights but no adapter passport. Adapters made by this program "
            "describe themselves; this file is something else."
        )
    return Passport.from_json(text)


def read_header(path: Path) -> Header:
    """Read the header alone.

    Raises:
        CheckpointError: too large, or not a whole safetensors file.
    """
    return _read(path, whole=False)[0]


def read_file(path: Path) -> tuple[Header, bytes]:
    """Read the whole file: its header, and all of its bytes.

    Raises:
        CheckpointError: as `read_header`.
    """
    return _read(path, whole=True)


def digest_of(passport: str, tensors: Mapping[str, "Tensor"]) -> str:
    """Compute the SHA-256 of a passport's text and of the tensors' bytes with their names."""
    digest = hashlib.sha256(passport.encode())
    for name, tensor in sorted(tensors.items()):
        data = tensor.numpy().tobytes()
        digest.update(f"\0{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def in_order(data: bytes) -> bytes:
    """Sort the metadata of a file, which safetensors writes in any order: equal files are equal."""
    (length,) = LENGTH.unpack(data[: LENGTH.size])
    rest = data[LENGTH.size + length :]
    raw = json.loads(data[LENGTH.size : LENGTH.size + length])
    raw["__metadata__"] = dict(sorted(raw["__metadata__"].items()))
    text = json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that tensors begin where numbers may
    return LENGTH.pack(len(text)) + text + rest


def checked_tensors(
    header: Header, data: bytes, template: Mapping[str, "Tensor"], file: str
) -> dict[str, "Tensor"]:
    """Take the tensors out of a file and check each before it is used.

    Args:
        header: of the file.
        data: all of its bytes.
        template: a tensor of the right shape for each name.
        file: its name, for messages.

    Raises:
        CheckpointError: one is missing, unknown, of another shape or type, or not finite, where the
            message names the first; or they are not what was saved.
    """
    from safetensors.torch import load  # torch takes seconds

    _check_names(set(template), set(header.tensors), file)
    for name, expected in template.items():
        _check_shape(name, *header.tensors[name], expected, file)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"'{file}' is damaged. Get the adapter again.") from error
    for name in template:
        _check_values(name, tensors[name], file)
    saved = header.metadata.get("sha256")
    if saved and saved != digest_of(header.metadata["passport"], tensors):
        raise CheckpointError(
            f"'{file}' is not what was saved: its checksum is another. Get the adapter again."
        )
    return tensors


def _check_names(expected: set[str], found: set[str], file: str) -> None:
    odd = sorted(expected ^ found)
    if odd:
        word = "lacks" if odd[0] in expected else "has the unknown"
        raise CheckpointError(f"'{file}' {word} tensor '{odd[0][:80]}'. It is not a whole adapter.")


def _check_shape(
    name: str, kind: str, shape: tuple[int, ...], expected: "Tensor", file: str
) -> None:
    if shape != expected.shape or kind != "F32":
        raise CheckpointError(
            f"'{file}' holds '{name}' as {kind[:10]} {shape}; its passport says "
            f"F32 {tuple(expected.shape)}. The file is damaged."
        )


def _check_values(name: str, found: "Tensor", file: str) -> None:
    """Refuse values that no training gives."""
    if not found.isfinite().all() or (found.abs() > MAX_VALUE).any():
        raise CheckpointError(
            f"'{file}' holds values in '{name}' that are not finite or far too large. "
            "The file is damaged or its training diverged."
        )


def _read(path: Path, whole: bool) -> tuple[Header, bytes]:
    try:
        if not path.is_file():  # opening a pipe would wait for its other end, for ever
            raise OSError("no regular file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise CheckpointError(
                    f"'{path.name}' is larger than {MAX_BYTES // 2**30} GB; no adapter is. "
                    "Choose an adapter file, not a model."
                )
            start = _exactly(file, LENGTH.size)
            (length,) = LENGTH.unpack(start)
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            text = _exactly(file, length)
            header = _parsed(text, size - LENGTH.size - length)
            data = start + text + _exactly(file, size - LENGTH.size - length) if whole else b""
            return header, data
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"'{path.name}' is not a whole safetensors file. Get the adapter again."
        ) from error


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes of {size}")
    return data


def _parsed(text: bytes, left: int) -> Header:
    """Read the header's text; its tensors have to fill the `left` bytes behind it."""
    raw = json.loads(text, object_pairs_hook=_once)
    metadata = raw.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that is no text")
    tensors = {}
    ends = [0]
    for name, tensor in raw.items():
        shape, (begin, end) = tuple(tensor["shape"]), tensor["data_offsets"]
        if len(shape) > 8 or not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError("a shape that cannot be")
        if math.prod(shape) > left or not begin <= end <= left:
            raise ValueError("a tensor beyond the end of the file")
        tensors[name] = (str(tensor["dtype"]), shape)
        ends.append(end)
    if max(ends) != left:
        raise ValueError("another length than its tensors have")
    return Header(metadata, tensors)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice, of which readers take different ones."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name twice")
    return found
