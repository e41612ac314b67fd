"""The shape of an adapter, without its numbers.

Apart from the modules that hold the numbers, because a folder of adapters is listed before torch
is there.
"""

from dataclasses import dataclass

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.vision.kinds import KINDS, Kind

BLOCKS = 2  # of a resampler
WIDENED = 2  # by a block's MLP, as a multiple of `hidden`
LARGEST = 65_536  # any size but a resampler's features, which are many tokens of such a width
LARGEST_FEATURES = 2**22


@dataclass(frozen=True)
class VisualSpec:
    """The shape of a projection, as the passport holds it.

    Attributes:
        feature_size: S, numbers that come of a picture; a resampler's are its patch tokens, one
            after the other.
        hidden: width inside.
        slots: vectors that a picture becomes: 1 for all prompts, or one for each. What all prompts
            share cancels in the softmax over them and only shifts their values; with vectors of
            their own, a question can attend to what it asks about.
        token_width: of a resampler alone, numbers of one patch token.
        entries: of a memory alone, how many things it knows.
        seconds: of a memory alone, how many of its last vectors tell what is second likeliest.
    """

    feature_size: int
    hidden: int
    kind: Kind = "global-mlp"
    slots: int = 1
    token_width: int = 0
    entries: int = 0
    seconds: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            known = ", ".join(f"'{kind}'" for kind in KINDS)
            raise CheckpointError(
                f"This adapter projects images by '{self.kind}'; this version knows {known}. "
                "Update the program, or choose another adapter."
            )
        resampler = self.kind == "query-resampler"
        most = LARGEST_FEATURES if resampler else LARGEST
        if not (1 <= self.feature_size <= most and 1 <= self.hidden <= LARGEST):
            raise CheckpointError(
                f"This adapter's visual projection has sizes {self.feature_size} and "
                f"{self.hidden}; 1 to {most:,} and 1 to {LARGEST:,} are possible."
            )
        if not 1 <= self.slots <= LARGEST:
            raise CheckpointError(
                f"This adapter makes {self.slots} vectors of a picture; 1 to {LARGEST:,} are "
                "possible. Its file is damaged; get it again."
            )
        if resampler and not (
            1 <= self.token_width <= LARGEST and self.feature_size % self.token_width == 0
        ):
            raise CheckpointError(
                f"This adapter reads {self.feature_size} numbers as tokens of "
                f"{self.token_width}; the width has to divide them. Its file is damaged; get it "
                "again."
            )
        if not resampler and self.token_width != 0:
            raise CheckpointError(
                f"This adapter's '{self.kind}' has tokens of {self.token_width}; only a "
                "'query-resampler' has tokens. Its file is damaged; get it again."
            )
        memory = self.kind == "key-value-memory"
        if not (1 <= self.entries <= LARGEST if memory else self.entries == 0):
            raise CheckpointError(
                f"This adapter's '{self.kind}' has {self.entries} entries; a 'key-value-memory' "
                f"has 1 to {LARGEST:,} and nothing else has any. Its file is damaged; get it again."
            )
        if not (0 <= self.seconds < self.slots if self.entries > 1 else self.seconds == 0):
            raise CheckpointError(
                f"This adapter tells what is second likeliest in {self.seconds} of {self.slots} "
                f"vectors, of {self.entries} things. Its file is damaged; get it again."
            )

    @property
    def tokens(self) -> int:
        """Patch tokens of a picture; 0 where it is seen as a whole."""
        return self.feature_size // self.token_width if self.token_width else 0

    def parameters(self, width: int) -> int:
        """Numbers that are trained, for a base of `width`."""
        h = self.hidden
        if self.kind == "global-mlp":
            return (self.feature_size + 1) * h + (h + 1) * self.slots * width
        if self.kind == "key-value-memory":
            values = (self.entries + self.slots * width) * h
            return (self.feature_size + 1) * self.entries + values + self.slots
        attention = 4 * (h + 1) * h
        mlp = (h + 1) * WIDENED * h + (WIDENED * h + 1) * h
        norms = 3 * 2 * h
        ends = (self.token_width + 1) * h + 2 * h + (h + 1) * width  # with the last norm
        return ends + (self.tokens + self.slots) * h + BLOCKS * (attention + mlp + norms)


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of an adapter, as the passport holds it."""

    layers: int  # L, the last ones of the base
    prompts: int  # K
    width: int  # D
    heads: int  # H
    visual: VisualSpec | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "prompts", "width", "heads"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 65_536):
                raise CheckpointError(
                    f"This adapter has {name} {value!r}; 1 to 65,536 is possible."
                )
        if self.visual and self.visual.slots not in (1, self.prompts):
            raise CheckpointError(
                f"This adapter makes {self.visual.slots} vectors of a picture for {self.prompts} "
                "prompts; it has to be 1 for all of them or one for each."
            )

    @classmethod
    def for_base(
        cls, config: LlamaConfig, *, layers: int, prompts: int, visual: VisualSpec | None = None
    ) -> "AdapterSpec":
        """A spec that fits a base."""
        return cls(layers, prompts, config.width, config.heads, visual)

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        prompts = self.layers * (self.prompts * self.width + self.heads)
        return prompts + (self.visual.parameters(self.width) if self.visual else 0)

    def check_fits(self, config: LlamaConfig, base: str) -> None:
        """Raises CheckpointError with both shapes when the base has another one."""
        fits = (self.width, self.heads) == (config.width, config.heads)
        if not fits or self.layers > config.layers:
            raise CheckpointError(
                f"This adapter is for a base of width {self.width} with {self.heads} heads and at "
                f"least {self.layers} layers; {base} has width {config.width}, {config.heads} "
                f"heads and {config.layers} layers. Start with the base it was made for."
            )
