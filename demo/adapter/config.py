"""What an adapter's file says of the adapter: its shape, and its passport.

The passport is one JSON text under `passport` in the metadata of a safetensors header. It is read
without the tensors and without torch: the page lists a folder of adapters before torch is there.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from demo.adapter.delta_spec import DeltaSpec
from demo.adapter.header import Header, read_header
from demo.adapter.visual_spec import MAX_SIZE
from demo.adapter.visual_spec import ProjectionKind as ProjectionKind  # found here as well
from demo.adapter.visual_spec import VisualSpec as VisualSpec
from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.tokenizer.chat_template import PromptForm

FORMAT = 1
MAX_PASSPORT = 500_000  # characters; ours have about a thousand, and the facts
MAX_FACTS_TEXT = 400_000  # characters, of all facts as JSON
MOST_FACTS = 500  # of an adapter: more are learned together
GateForm = Literal["tanh", "raw"]
GATE_FORMS: tuple[GateForm, ...] = get_args(GateForm)


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of an adapter, as the passport holds it.

    Attributes:
        layers: L, the last ones of the base.
        prompts: K of each layer.
        width: D of the base.
        heads: H of the base.
        visual: the projection of pictures, None for text alone.
        gate: whether the prompts' attention is multiplied by tanh(gate), as here and in the
            authors' training, or by the gate itself, as in their inference.
        delta: what is changed beside the prompts, None for nothing. With it there may be none.
        early: of them, the base's first ones, which alone take pictures (early fusion, arXiv
            2304.15010, section 3.2); 0 where pictures go to all prompts.
        facts: that each have K prompts a layer of their own (`fact_pool.py`); 0 where all share.

    Raises:
        CheckpointError: sizes that cannot be, or a gate that this version does not know.
    """

    layers: int
    prompts: int
    width: int
    heads: int
    visual: VisualSpec | None = None
    gate: GateForm = "tanh"
    delta: DeltaSpec | None = None
    early: int = 0
    facts: int = 0

    def __post_init__(self) -> None:
        least = 0 if self.delta and self.layers == self.prompts == 0 else 1
        for name in ("layers", "prompts", "width", "heads"):
            value = getattr(self, name)
            if not (isinstance(value, int) and least <= value <= MAX_SIZE):
                raise CheckpointError(
                    f"This adapter has {name} {value!r}; 1 to {MAX_SIZE:,} is possible."
                )
        if not 0 <= self.early <= (self.layers if self.visual else 0):
            raise CheckpointError(
                f"This adapter has {self.early} early layers, which cannot be. Get it again."
            )
        alone = self.visual is None and self.delta is None
        whole = isinstance(self.facts, int) and not isinstance(self.facts, bool)
        if not whole or not 0 <= self.facts <= (MOST_FACTS if alone else 0):
            raise CheckpointError(
                f"This adapter has {self.facts!r} facts, which cannot be. Get it again."
            )
        if self.gate not in GATE_FORMS:
            raise CheckpointError(
                f"This adapter's gate is {str(self.gate)[:40]!r}; this version knows 'tanh' and "
                "'raw'. Update the program, or choose another adapter."
            )
        if self.visual and self.visual.slots not in (1, self.prompts):
            raise CheckpointError(
                f"This adapter makes {self.visual.slots} vectors of a picture for {self.prompts} "
                "prompts; it has to be 1 for all of them or one for each."
            )

    @classmethod
    def for_base(
        cls,
        config: LlamaConfig,
        *,
        layers: int,
        prompts: int,
        visual: VisualSpec | None = None,
        delta: DeltaSpec | None = None,
    ) -> "AdapterSpec":
        """Make a spec that fits a base."""
        return cls(layers, prompts, config.width, config.heads, visual, delta=delta)

    def reach(self, config: LlamaConfig) -> int:
        """Count the last layers of a base that are not as the base has them."""
        return config.layers if self.delta or self.early else self.layers

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        prompts = self.layers * (max(1, self.facts) * self.prompts * self.width + self.heads)
        beside = (self.visual, self.delta)
        return prompts + sum(part.parameters(self.width) for part in beside if part)

    def to_json(self) -> dict[str, Any]:
        """Give the passport's fields; four came later and are left out where they are usual."""
        fields = asdict(self) | {"visual": self.visual.to_json() if self.visual else None}
        usual = {"gate": "tanh", "delta": None, "early": 0, "facts": 0}
        return {k: v for k, v in fields.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "AdapterSpec":
        """Read the passport's fields.

        Raises:
            CheckpointError: as the class.
            TypeError: fields that are missing or unknown.
            KeyError: `visual` is missing.
        """
        fields = dict(raw)
        visual, delta = fields.pop("visual"), fields.pop("delta", None)
        return cls(
            **fields,
            visual=VisualSpec.from_json(visual) if visual else None,
            delta=DeltaSpec(**delta) if delta else None,
        )

    def check_fits(self, config: LlamaConfig, base: str) -> None:
        """Compare the shape with a base's.

        Args:
            config: the base's shape.
            base: its name, for the message.

        Raises:
            CheckpointError: the base has another shape; the message names both.
        """
        fits = (self.width, self.heads) == (config.width, config.heads)
        fits = fits and (self.delta is None or self.delta.fits(config))
        if not fits or self.layers > config.layers:
            raise CheckpointError(
                f"This adapter is for a base of width {self.width} with {self.heads} heads and at "
                f"least {self.layers} layers; {base} has width {config.width}, {config.heads} "
                f"heads and {config.layers} layers. Start with the base it was made for."
            )


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

    Raises:
        TypeError: fields of other types.
    """

    file: str
    sha256: str
    kind: str
    prompt: PromptForm | None
    sampling: dict[str, float]

    def __post_init__(self) -> None:
        texts = (self.file, self.sha256, self.kind)
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
        raw = asdict(self) | {"spec": self.spec.to_json()}
        if self.origin is None:  # which came later
            del raw["origin"]
        if not self.facts:
            del raw["facts"]
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
            return cls(
                **raw, spec=spec, origin=Origin.from_json(origin) if origin else None, facts=facts
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
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
