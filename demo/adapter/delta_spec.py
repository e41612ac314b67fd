"""The shape of what an adapter changes beside its prompts, as the passport holds it.

LLaMA-Adapter V2 (arXiv 2304.15010, section 3.1): a bias and a scale for every linear layer, and
norms of its own; and LoRA (arXiv 2106.09685), which its released models add.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig

MAX_SIZE = 65_536  # of any dimension
MAX_RANK = 256
ScalePlace = Literal["", "before", "after"]
SCALE_PLACES: tuple[ScalePlace, ...] = get_args(ScalePlace)
FORMS = ("prompts", "prompts and biases", "paper V2", "LoRA")  # that Teach offers


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
