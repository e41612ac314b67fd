"""The shape of a projection from a picture's features to the prompts, as passports hold it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from demo.errors import CheckpointError

MAX_SIZE = 65_536  # of any dimension of an adapter
MAX_BLOCKS = 64
ProjectionKind = Literal["global-mlp", "key-value-memory", "query-transformer", "swiglu-bridge"]
ChannelOrder = Literal["RGB", "BGR"]
PROJECTION_KINDS: tuple[ProjectionKind, ...] = get_args(ProjectionKind)


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
