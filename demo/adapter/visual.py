"""Projections from an image's features to what is added to the adaption prompts.

LLaMA-Adapter, arXiv 2303.16199, section 3.3: global features of several depths of the vision
tower, concatenated, go through a small MLP to one vector that every prompt of every adapted layer
receives, or here to one for each prompt. The authors' released multimodal model reads CLIP's patch
tokens by learned queries instead, one a prompt, in attention blocks over both
(github.com/OpenGVLab/LLaMA-Adapter, `llama_adapter_v2_multimodal7b`); here the queries attend to
the tokens alone, which costs less and lets them look at the same picture.

Sizes: B images, S feature size, T tokens of a picture, W token width, Q slots, E entries, h hidden,
D model width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.adapter.spec import BLOCKS, WIDENED, VisualSpec
from demo.vision.kinds import Kind

HEAD = 64  # width of an attention head, where `hidden` can be parted so
OUT = -1e4  # a logit that is never chosen
PLACED = 0.1  # deviation of new position embeddings: tokens are told apart, not drowned


class Projection(nn.Module):
    """Features (B, S) of pictures → (B, D), one vector for all prompts, or (B, Q, D).

    Features are first brought to mean 0 and deviation 1 by constants measured on the training
    pictures: depths of a tower differ in scale by orders of magnitude.
    """

    def __init__(self, spec: VisualSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(spec.feature_size))
        self.register_buffer("deviation", torch.ones(spec.feature_size))

    def measure(self, features: Tensor) -> None:
        """Sets the constants from features (pictures, S) of the training set.

        One picture says nothing of how features vary: then they are only moved.
        """
        self.mean.copy_(features.mean(0))
        if len(features) > 1:
            self.deviation.copy_(features.std(0).clamp_min(1e-5))

    def standard(self, features: Tensor) -> Tensor:
        """(B, S) by the constants. Raises ValueError for features of another size."""
        if features.shape[-1] != len(self.mean):
            raise ValueError(
                f"a projection of {len(self.mean)} features was given {features.shape[-1]}"
            )
        return (features - self.mean) / self.deviation

    def likeness(self, features: Tensor) -> Tensor:
        """(B, S) → (B,): how much pictures are like those that the constants were measured on.

        Mean logarithm, in nats a number, of how dense they lay there, each number by itself as in a
        normal distribution, up to a constant. So projections of the same features can be compared.
        """
        given = self.standard(features.to(self.mean.device))
        return -(given.square() / 2 + self.deviation.log()).mean(1)


class GlobalMLP(Projection):
    """Global features (B, S) → (B, D), or (B, Q, D) where each prompt has a vector of its own."""

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.slots = spec.slots
        self.inner = nn.Linear(spec.feature_size, spec.hidden)
        self.outer = nn.Linear(spec.hidden, spec.slots * width)

    def forward(self, features: Tensor) -> Tensor:
        seen = self.outer(F.silu(self.inner(self.standard(features))))  # (B, Q * D)
        return seen if self.slots == 1 else seen.unflatten(1, (self.slots, -1))


class KeyValueMemory(Projection):
    """Global features (B, S) → (B, D) or (B, Q, D): what is said of the things they are like.

    A softmax over keys, one for each of E things, mixes their values (key-value memory networks,
    arXiv 1606.03126). Nothing is guessed between things: what is like one of them alone becomes
    exactly what is said of that one. Each vector has a `sharpness` (Q,) of its own, a factor of the
    logits: one may say what is likeliest, and another how likely it is. The last `seconds` vectors
    leave the likeliest thing out.
    """

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.slots, self.seconds = spec.slots, spec.seconds
        self.sharpness = nn.Parameter(torch.ones(spec.slots))
        self.keys = nn.Linear(spec.feature_size, spec.entries)
        # Values (E, Q * D) of rank h: things have most of what is said of them in common.
        self.values = nn.Linear(spec.entries, spec.hidden, bias=False)
        self.outer = nn.Linear(spec.hidden, spec.slots * width, bias=False)

    def logits(self, features: Tensor) -> Tensor:
        """(B, E): how much each thing is seen."""
        return self.keys(self.standard(features))

    def forward(self, features: Tensor) -> Tensor:
        ranked = for_each(self.logits(features), self.slots, self.seconds)  # (B, Q, E)
        sharp = self.sharpness[:, None] * ranked
        found = self.values(sharp.softmax(-1))  # (B, Q, h)
        outer = self.outer.weight.unflatten(0, (self.slots, -1))  # (Q, D, h)
        seen = torch.einsum("bqh,qdh->bqd", found, outer)
        return seen[:, 0] if self.slots == 1 else seen


def for_each(logits: Tensor, slots: int, seconds: int) -> Tensor:
    """(B, E) → (B, Q, E): what each vector chooses from, the last ones without the likeliest."""
    every = logits[:, None].expand(-1, slots - seconds, -1)
    if not seconds:
        return every
    rest = logits.scatter(1, logits.argmax(1, keepdim=True), OUT)
    return torch.cat([every, rest[:, None].expand(-1, seconds, -1)], 1)


class QueryResampler(Projection):
    """Patch tokens (B, T * W) → what learned queries find in them, (B, Q, D)."""

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.shape = (spec.tokens, spec.token_width)
        self.inner = nn.Linear(spec.token_width, spec.hidden)
        self.position = nn.Parameter(PLACED * torch.randn(spec.tokens, spec.hidden))
        self.queries = nn.Parameter(torch.randn(spec.slots, spec.hidden))
        self.blocks = nn.ModuleList(LookBlock(spec.hidden) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(spec.hidden)
        self.outer = nn.Linear(spec.hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.standard(features).unflatten(1, self.shape)  # (B, T, W)
        tokens = self.inner(tokens) + self.position  # (B, T, h)
        found = self.queries.expand(len(tokens), -1, -1)  # (B, Q, h)
        for block in self.blocks:
            found = block(found, tokens)
        return self.outer(self.norm(found))


class LookBlock(nn.Module):
    """One look of queries at tokens: attention, then an MLP, each after a norm and added."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = hidden // HEAD if hidden % HEAD == 0 else 1
        self.query_norm, self.token_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.mlp_norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, WIDENED * hidden)
        self.down = nn.Linear(WIDENED * hidden, hidden)

    def forward(self, found: Tensor, tokens: Tensor) -> Tensor:
        """Queries (B, Q, h) and tokens (B, T, h) → (B, Q, h)."""
        key, value = self.key_value(self.token_norm(tokens)).chunk(2, -1)
        query = self.query(self.query_norm(found))
        parts = [x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        seen = F.scaled_dot_product_attention(*parts)  # (B, heads, Q, h / heads)
        found = found + self.mix(seen.transpose(1, 2).flatten(2))
        return found + self.down(F.silu(self.up(self.mlp_norm(found))))


def projection(spec: VisualSpec, width: int) -> Projection:
    """A new projection of the spec's kind, for a base of `width`."""
    made: dict[Kind, Callable[[VisualSpec, int], Projection]] = {
        "global-mlp": GlobalMLP,
        "key-value-memory": KeyValueMemory,
        "query-resampler": QueryResampler,
    }
    return made[spec.kind](spec, width)
