"""The shape of an adapter, as its passport holds it: prompts, and what stands beside them.

Beside the prompts there may be a projection of pictures to them, and what is changed of the base's
products and norms: LLaMA-Adapter V2 (arXiv 2304.15010, section 3.1) has a bias and a scale for
every linear layer, and norms of its own; its released models add a LoRA (arXiv 2106.09685).

Neither torch nor a file is needed here: the page lists adapters before torch is there.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig

MAX_SIZE = 65_536  # of any dimension of an adapter
MAX_BLOCKS = 64
MAX_RANK = 256
MOST_FACTS = 500  # of an adapter: more are learned together
ProjectionKind = Literal["global-mlp", "key-value-memory", "query-transformer", "swiglu-bridge"]
PROJECTION_KINDS: tuple[ProjectionKind, ...] = get_args(ProjectionKind)
ChannelOrder = Literal["RGB", "BGR"]
ScalePlace = Literal["", "before", "after"]
SCALE_PLACES: tuple[ScalePlace, ...] = get_args(ScalePlace)
FORMS = ("prompts", "prompts and biases", "paper V2", "LoRA")  # that Teach offers
GateForm = Literal["tanh", "raw"]
GATE_FORMS: tuple[GateForm, ...] = get_args(GateForm)


@dataclass(frozen=True)
class VisualSpec:
    """The shape of a projection from a picture's features to the adaption prompts.

    Attributes:
        feature_size: S, numbers that come of a picture, or of each of its tokens.
        hidden: width inside.
        kind: which projection of `adapter.py` it is.
        slots: vectors that a picture becomes: 1 for all prompts, or one for each. What all prompts
            share cancels in the softmax over them and only shifts their values; with vectors of
            their own, a question can attend to what it asks about.
        entries: of a memory alone, how many classes it knows.
        runner_up_slots: of a memory alone, how many of its last vectors encode the second likeliest
            class.
        blocks: of a query transformer or a bridge alone, how many follow each other.
        heads: of a query transformer alone, of each block.
        single_view: of a memory alone, that it takes features of the picture as it is, not averaged
            over views.
        attributes: of a memory alone, how many values an attribute of the picture has; how much of
            each there is comes after the features. 11 are its basic colours.
        attribute_slots: of a memory alone, how many of its last vectors tell that attribute.
        channels: the order in which it was shown colours; LLaMA-Adapter V2 read its pictures with
            OpenCV and never turned them round.

    Raises:
        CheckpointError: a kind that this version does not know, or sizes that cannot be.
    """

    feature_size: int
    hidden: int
    kind: ProjectionKind = "global-mlp"
    slots: int = 1
    entries: int = 0
    runner_up_slots: int = 0
    blocks: int = 0
    heads: int = 0
    single_view: bool = False
    attributes: int = 0
    attribute_slots: int = 0
    channels: ChannelOrder = "RGB"

    def __post_init__(self) -> None:
        if self.kind not in PROJECTION_KINDS:
            known = ", ".join(f"'{kind}'" for kind in PROJECTION_KINDS)
            raise CheckpointError(
                f"This adapter projects images by '{self.kind}'; this version knows {known}. "
                "Update the program, or choose another adapter."
            )
        if not (1 <= self.feature_size <= MAX_SIZE and 1 <= self.hidden <= MAX_SIZE):
            raise CheckpointError(
                f"This adapter's visual projection has sizes {self.feature_size} and "
                f"{self.hidden}; 1 to {MAX_SIZE:,} is possible."
            )
        if not 1 <= self.slots <= MAX_SIZE:
            raise CheckpointError(
                f"This adapter makes {self.slots} vectors of a picture; 1 to {MAX_SIZE:,} are "
                "possible. Its file is damaged; get it again."
            )
        if self.channels not in get_args(ChannelOrder):
            raise CheckpointError(
                f"This adapter was shown colours as {str(self.channels)[:20]!r}; this version "
                "knows RGB and BGR. Update the program, or choose another adapter."
            )
        bridge = self.kind == "swiglu-bridge"
        least, most = (1, MAX_BLOCKS) if self.tokens or bridge else (0, 0)
        heads = (1, MAX_BLOCKS) if self.tokens else (0, 0)
        if not (least <= self.blocks <= most and heads[0] <= self.heads <= heads[1]) or (
            self.tokens and self.hidden % self.heads
        ):
            raise CheckpointError(
                f"This adapter's '{self.kind}' has {self.blocks} blocks of {self.heads} heads at "
                f"width {self.hidden}, which cannot be. Its file is damaged; get it again."
            )
        memory = self.kind == "key-value-memory"
        if not (1 <= self.entries <= MAX_SIZE if memory else self.entries == 0):
            raise CheckpointError(
                f"This adapter's '{self.kind}' has {self.entries} entries; a 'key-value-memory' "
                f"has 1 to {MAX_SIZE:,} and nothing else has any. Its file is damaged; get it "
                "again."
            )
        attributed = 1 if self.attributes else 0
        if not (
            0 <= self.attributes <= (MAX_SIZE if memory else 0)
            and attributed <= self.attribute_slots <= attributed * (self.slots - 1)
        ):
            raise CheckpointError(
                f"This adapter's '{self.kind}' tells {self.attributes} attributes in "
                f"{self.attribute_slots} of {self.slots} vectors, which cannot be. Its file is "
                "damaged; get it again."
            )
        most = self.slots - self.attribute_slots - 1 if self.entries > 1 else 0
        if not 0 <= self.runner_up_slots <= most:
            raise CheckpointError(
                f"This adapter tells what is second likeliest in {self.runner_up_slots} of "
                f"{self.slots} vectors, of {self.entries} things. Its file is damaged; get it "
                "again."
            )

    @property
    def augmented(self) -> bool:
        """Whether it takes features averaged over views of test-time augmentation."""
        return self.kind == "key-value-memory" and not self.single_view

    @property
    def tokens(self) -> bool:
        """Whether it takes all tokens of a transformer tower, not global features."""
        return self.kind == "query-transformer"

    def parameters(self, width: int) -> int:
        """Count the numbers that are trained, for a base of `width`."""
        if self.tokens:
            block = 12 * self.hidden**2 + 13 * self.hidden
            ends = (self.feature_size + 3 + self.slots) * self.hidden + (self.hidden + 3) * width
            return self.blocks * block + ends
        if self.kind == "swiglu-bridge":
            return (self.feature_size + 1 + self.blocks * (1 + 3 * self.hidden)) * width
        if self.kind == "key-value-memory":
            values = (self.entries + self.attributes + self.slots * width) * self.hidden
            return (self.feature_size + 1) * self.entries + values + self.slots
        inner = (self.feature_size + 1) * self.hidden
        return inner + (self.hidden + 1) * self.slots * width

    def to_json(self) -> dict[str, Any]:
        """Give the passport's fields, named as they always were."""
        raw = asdict(self)
        if not self.blocks:  # which came later
            del raw["blocks"], raw["heads"]
        if not self.single_view:
            del raw["single_view"]
        if not self.attributes:
            del raw["attributes"], raw["attribute_slots"]
        if self.channels == "RGB":
            del raw["channels"]
        return raw | {"seconds": raw.pop("runner_up_slots"), "token_width": 0}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "VisualSpec":
        """Read the passport's fields; `slots`, `entries` and `seconds` came later.

        Raises:
            CheckpointError: as the class, or a width of patch tokens, which no kind has any more.
            TypeError: fields that are missing or unknown.
        """
        fields = dict(raw)
        token_width = fields.pop("token_width", 0)
        spec = cls(runner_up_slots=fields.pop("seconds", 0), **fields)
        if token_width:
            raise CheckpointError(
                f"This adapter's '{spec.kind}' has tokens of {token_width}; it cannot have any. "
                "Its file is damaged; get it again."
            )
        return spec


@dataclass(frozen=True)
class DeltaSpec:
    """What is changed of all products and norms of a base.

    Attributes:
        layers: N, all of the base.
        query: rows of W_q, heads times their size.
        key_value: rows of W_k, and of W_v.
        ffn: F, the width between.
        bias: whether every product has one.
        scale: whether a scale acts before a product, as in the authors' chat model, after product
            and bias, as in the paper, or not at all.
        norms: whether all norms are its own.
        rank: of a LoRA, 0 for none.

    Raises:
        CheckpointError: sizes or forms that cannot be.
    """

    layers: int
    query: int
    key_value: int
    ffn: int
    bias: bool = False
    scale: ScalePlace = ""
    norms: bool = False
    rank: int = 0

    def __post_init__(self) -> None:
        sizes = (self.layers, self.query, self.key_value, self.ffn)
        whole = all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes)
        ranked = type(self.rank) is int and 0 <= self.rank <= MAX_RANK
        kinds = isinstance(self.bias, bool) and isinstance(self.norms, bool)
        if not (whole and ranked and kinds and self.scale in SCALE_PLACES):
            raise CheckpointError(
                "This adapter changes the base's products in a way or a size that this version "
                "does not know. Update the program, or get the file again."
            )

    @classmethod
    def for_base(
        cls,
        config: LlamaConfig,
        *,
        bias: bool = False,
        scale: ScalePlace = "",
        norms: bool = False,
        rank: int = 0,
    ) -> "DeltaSpec":
        """Make a spec that fits a base."""
        size = config.head_dim
        query, key_value = config.heads * size, config.kv_heads * size
        return cls(config.layers, query, key_value, config.ffn, bias, scale, norms, rank)

    @classmethod
    def of_form(cls, form: str, config: LlamaConfig, rank: int = 16) -> "DeltaSpec | None":
        """Make the spec of one of `FORMS`, None for prompts alone.

        Args:
            form: its name.
            config: of the base.
            rank: of the LoRA, where it is one.
        """
        if form == "prompts and biases":
            return cls.for_base(config, bias=True, norms=True)
        if form == "paper V2":
            return cls.for_base(config, bias=True, scale="after", norms=True)
        return cls.for_base(config, rank=rank) if form == "LoRA" else None

    def rows(self, width: int) -> dict[str, tuple[int, ...]]:
        """Give the rows of the parts of each product, by its name in `Delta`."""
        return {
            "qkv": (self.query, self.key_value, self.key_value),
            "attention_output": (width,),
            "gate_up": (self.ffn, self.ffn),
            "down": (width,),
        }

    def columns(self, width: int) -> dict[str, int]:
        """Give the numbers that go into each product."""
        return {"qkv": width, "attention_output": self.query, "gate_up": width, "down": self.ffn}

    def parameters(self, width: int) -> int:
        """Count the numbers that are trained, for a base of `width`."""
        rows, columns = self.rows(width), self.columns(width)
        outputs = sum(sum(parts) for parts in rows.values())
        inputs = sum(len(rows[name]) * columns[name] for name in rows)
        scale = {"": 0, "before": inputs, "after": outputs}[self.scale]
        layer = self.bias * outputs + scale + self.rank * (inputs + outputs)
        return self.layers * (layer + 2 * self.norms * width) + self.norms * width

    def fits(self, config: LlamaConfig) -> bool:
        """Whether a base has these sizes."""
        mine = (self.layers, self.query, self.key_value, self.ffn)
        size = config.head_dim
        return mine == (
            config.layers, config.heads * size, config.kv_heads * size, config.ffn
        )  # fmt: skip


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
        facts: that each have K prompts a layer of their own (`FactPool`); 0 where all share.

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
