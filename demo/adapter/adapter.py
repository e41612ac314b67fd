"""An adapter: prompts, gates and a projection of pictures, and the prefix they give a frozen base.

LLaMA-Adapter, arXiv 2303.16199, sections 3.1 to 3.3. Global features of several depths of the
vision tower, concatenated, go through a small MLP to one vector that every prompt of every adapted
layer receives, or here to one for each prompt. A memory mixes what is known of each class instead.
In what the authors released learned queries attend to the tower's tokens.

Sizes: L adapted layers, K prompts a layer, D model width, H heads, B pictures (1 when there is
none), S numbers of `Tower.adapter_features` or of each of T tokens, Q slots, E entries, h hidden.

Its file is described in `passport.py`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from demo.adapter.changes import Changes
from demo.adapter.config import AdapterSpec, ProjectionKind, VisualSpec
from demo.adapter.passport import (
    Passport,
    checked_tensors,
    digest_of,
    in_order,
    passport_of,
    read_file,
)
from demo.atomic_file import replace_file
from demo.llama.delta import Delta
from demo.llama.model import Llama, Prefix

NEVER = -1e4  # a logit that is never chosen
LEAST_SHARE = 1e-3  # of an attribute's value, which has no logarithm at 0


class Adapter(nn.Module):
    """The parameters that are trained on top of a frozen base.

    `prompts` (L, K, D) start as N(0, 1), `gate` (L, H) at zero: an untrained adapter leaves the
    base's output exactly as it is, and the gates open as they learn (zero-init attention). What it
    changes beside them, if anything, starts as no change (`changes.py`).
    """

    def __init__(self, spec: AdapterSpec) -> None:
        super().__init__()
        self.spec = spec
        own = 0 if spec.facts else spec.prompts
        self.prompts = nn.Parameter(torch.randn(spec.layers, own, spec.width))
        self.gate = nn.Parameter(torch.zeros(spec.layers, spec.heads))
        self.visual = projection(spec.visual, spec.width) if spec.visual else None
        self.changes = Changes(spec.delta, spec.width) if spec.delta else None
        self.pool = FactPool(spec) if spec.facts else None

    def prefix(
        self, model: Llama, features: Tensor | None = None, *, strength: float = 1.0
    ) -> Prefix:
        """Compute the prefix for B pictures, or without any.

        It is differentiable in the adapter. A prefix is a value: nothing is kept here, so it can
        neither go stale nor cut a gradient.

        Args:
            model: the base whose last L layers read it.
            features: (B, S) of the pictures, or (B, T, S) of their tokens, None without one. Of
                an adapter that knows facts, (B, 1) which of them is asked for, None for none.
            strength: multiplies what the gates let through; 0 is the base.

        Raises:
            ValueError: features for an adapter without a projection, or of another size.
        """
        if self.pool:
            return self._fact_prefix(model, self.pool, features, strength)
        visual = torch.zeros(1, 1, self.spec.width, device=self.prompts.device)
        if features is not None:
            if self.visual is None:
                raise ValueError("an adapter without a visual projection was given a picture")
            visual = self.visual(features.to(self.prompts.device))  # (B, D) or (B, K, D)
            visual = visual if visual.ndim == 3 else visual[:, None]
        gate, prompts = strength * self.opening(), self.prompts[:, None] + visual  # (L, B, K, D)
        if self.spec.early:
            gate, prompts = self._spread(model, gate, visual, seen=features is not None)
        return self._through(model, gate, prompts, self.delta(model, strength=strength))

    def _fact_prefix(
        self, model: Llama, pool: "FactPool", places: Tensor | None, strength: float
    ) -> Prefix:
        """Compute the prefix of the facts at `places` (B, 1); closed for none of them.

        Gates stay as they began: each fact's prompts then learn by themselves alone.
        """
        chosen = [0] if places is None else [int(place) for place in places[:, 0]]
        gate = (0.0 if places is None else strength) * self.opening().detach()
        return self._through(model, gate, pool.prompts(chosen), None)

    @staticmethod
    def _through(model: Llama, gate: Tensor, prompts: Tensor, delta: Delta | None) -> Prefix:
        """Run prompts (L, B, K, D) through the base's last L layers' W_k and W_v."""
        first, keys, values = model.config.layers - len(gate), [], []
        for layer, rows in enumerate(prompts, first):
            key, value = model.prompt_keys_values(layer, rows, delta)
            keys.append(key.float())
            values.append(value.float())
        if not keys:
            none = torch.zeros(0, 1, model.config.kv_heads, 0, model.config.head_dim)
            return Prefix(none, none, gate)
        return Prefix(torch.stack(keys), torch.stack(values), gate)

    def _spread(
        self, model: Llama, gate: Tensor, visual: Tensor, *, seen: bool
    ) -> tuple[Tensor, Tensor]:
        """Spread gates and prompts over all N layers of a base: first ones see, last ones do not.

        The layers between have closed gates, and so have the first ones without a picture.
        """
        early, late = self.spec.early, self.spec.layers - self.spec.early
        between = model.config.layers - self.spec.layers
        rows = self.prompts[:, None].expand(-1, len(visual), -1, -1)  # (L, B, K, D)
        none = torch.zeros_like(rows[:1]).expand(between, -1, -1, -1)
        prompts = torch.cat((rows[:early] + visual, none, rows[early:]))
        closed = torch.zeros_like(gate[:1]).expand(between, -1)
        first = gate[:early] if seen else torch.zeros_like(gate[:early])
        return torch.cat((first, closed, gate[early : early + late])), prompts

    def delta(self, model: Llama, *, strength: float = 1.0) -> Delta | None:
        """Compute what is changed beside the prompts, None for nothing; differentiable.

        Args:
            model: the base.
            strength: 0 leaves the base as it is.
        """
        return self.changes.delta(model, strength) if self.changes else None

    def opening(self) -> Tensor:
        """Give what multiplies the prompts' attention (L, H), of the spec's gate form."""
        return torch.tanh(self.gate) if self.spec.gate == "tanh" else self.gate

    @torch.inference_mode()
    def fixed_prefix(
        self, model: Llama, features: Tensor | None = None, *, strength: float = 1.0
    ) -> Prefix:
        """Compute `prefix` for a reply: without gradients, and on one thread.

        It is a hundred small steps. Shared by threads, each would wait for the slowest of them, and
        beside a busy process that made some 400 ms of 8.

        Args:
            model: as in `prefix`.
            features: as in `prefix`.
            strength: as in `prefix`.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.prefix(model, features, strength=strength)
        finally:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def fixed_delta(self, model: Llama, *, strength: float = 1.0) -> Delta | None:
        """Compute `delta` for a reply, without gradients.

        Args:
            model: as in `delta`.
            strength: as in `delta`.
        """
        return self.delta(model, strength=strength)


class FactPool(nn.Module):
    """A pool of prompts (L, K, D), a group for each of G facts, as in L2P (arXiv 2112.08654).

    There a frozen network's view of the input chooses prompts from a pool by their keys. Here each
    fact that was taught has a group of its own, and the question chooses one group or none
    (`questions/`). So a group has to carry one answer alone, a new one leaves the others as they
    are, and with none chosen the base stays itself bit for bit.

    Each is a parameter of its own: a step of training in which a fact did not occur has no
    gradient for it, and leaves it to the bit as it was.
    """

    def __init__(self, spec: AdapterSpec) -> None:
        super().__init__()
        shape = spec.layers, spec.prompts, spec.width
        self.groups = nn.ParameterList(nn.Parameter(torch.randn(shape)) for _ in range(spec.facts))

    def __len__(self) -> int:
        return len(self.groups)

    def prompts(self, places: Sequence[int]) -> Tensor:
        """Stack the groups at some places → (L, B, K, D); differentiable in each of them.

        Raises:
            IndexError: there is no fact at a place.
        """
        if not all(0 <= place < len(self) for place in places):
            raise IndexError(f"facts {list(places)} of {len(self)}")
        return torch.stack([self.groups[place] for place in places], 1)


class Projection(nn.Module):
    """Features (B, S) of pictures → (B, D), one vector for all prompts, or (B, Q, D).

    Features are first brought to mean 0 and deviation 1 by constants measured on the training
    pictures: depths of a tower differ in scale by orders of magnitude.
    """

    mean: Tensor  # (S,)
    deviation: Tensor  # (S,)

    def __init__(self, spec: VisualSpec) -> None:
        super().__init__()
        self.augmented, self.tokens = spec.augmented, spec.tokens  # the features that it takes
        self.bgr, self.coloured = spec.channels == "BGR", spec.attributes > 0
        self.register_buffer("mean", torch.zeros(spec.feature_size))
        self.register_buffer("deviation", torch.ones(spec.feature_size))

    def measure(self, features: Tensor) -> None:
        """Set the constants from features (B, S) of the training set, or its tokens (B, T, S).

        One picture says nothing of how features vary: then they are only moved.
        """
        each = features.float().flatten(0, -2)
        self.mean.copy_(each.mean(0))
        if len(features) > 1:
            self.deviation.copy_(each.std(0).clamp_min(1e-5))

    def standard(self, features: Tensor) -> Tensor:
        """Bring features (B, S) to mean 0 and deviation 1 by the constants.

        Raises:
            ValueError: features of another size.
        """
        if features.shape[-1] != len(self.mean):
            raise ValueError(
                f"a projection of {len(self.mean)} features was given {features.shape[-1]}"
            )
        return (features - self.mean) / self.deviation

    def likeness(self, features: Tensor) -> Tensor:
        """Rate features (B, S) by how much they are like those of the training set → (B,).

        It is the log-density of independent normal distributions, up to a constant, in nats a
        number. So projections of the same features can be compared.
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
        vectors = self.outer(F.silu(self.inner(self.standard(features))))  # (B, Q * D)
        return vectors if self.slots == 1 else vectors.unflatten(1, (self.slots, -1))


class KeyValueMemory(Projection):
    """Global features (B, S) → (B, D) or (B, Q, D), the values of the classes they are like.

    A softmax over keys, one for each of E classes, mixes their values (key-value memory networks,
    arXiv 1606.03126). Nothing is interpolated between classes: what is like one of them alone
    becomes exactly that one's value. Each vector has a `sharpness` (Q,) of its own, a factor of the
    logits: one may say which class is likeliest, and another how likely it is. The last vectors but
    those of an attribute leave the likeliest class out.

    With an attribute of A values, its colour, features (B, S + A) end with the share of each.
    """

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.slots, self.runner_up_slots = spec.slots, spec.runner_up_slots
        self.attributes, self.attribute_slots = spec.attributes, spec.attribute_slots
        self.sharpness = nn.Parameter(torch.ones(spec.slots))
        self.keys = nn.Linear(spec.feature_size, spec.entries)
        # Values (E + A, Q * D) of rank h: classes have most of what is said of them in common.
        self.values = nn.Linear(spec.entries + spec.attributes, spec.hidden, bias=False)
        self.outer = nn.Linear(spec.hidden, spec.slots * width, bias=False)

    def standard(self, features: Tensor) -> Tensor:
        """Bring features to mean 0 and deviation 1, as `Projection`, without the attribute's."""
        return super().standard(features[:, : features.shape[-1] - self.attributes])

    def logits(self, features: Tensor) -> Tensor:
        """Rate each class for features → (B, E)."""
        return self.keys(self.standard(features))

    def forward(self, features: Tensor) -> Tensor:
        shares = features[:, features.shape[-1] - self.attributes :]
        told = self.mixed(self.logits(features), shares.clamp_min(LEAST_SHARE).log())
        return told[:, 0] if self.slots == 1 else told

    def mixed(self, logits: Tensor, attributes: Tensor) -> Tensor:
        """Mix values by logits of classes (B, E) and of the attribute (B, A) → (B, Q, D)."""
        kinds, named = logits.shape[-1], self.slots - self.attribute_slots
        every = self.sharpness[:named, None] * slot_logits(logits, named, self.runner_up_slots)
        mixed = F.linear(every.softmax(-1), self.values.weight[:, :kinds])  # (B, named, h)
        if self.attribute_slots:
            again = (self.sharpness[named:, None] * attributes[:, None]).softmax(-1)
            mixed = torch.cat([mixed, F.linear(again, self.values.weight[:, kinds:])], 1)
        outer = self.outer.weight.unflatten(0, (self.slots, -1))  # (Q, D, h)
        return torch.einsum("bqh,qdh->bqd", mixed, outer)


class TransformerBlock(nn.Module):
    """A pre-norm block of self-attention and MLP, x (B, T, h) → as x, as a ViT has them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = _norm(width), _norm(width)
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (3, B, heads, T, d)
        x = x + self.mixed(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.outer(F.gelu(self.inner(self.mlp_norm(x))))


class QueryTransformer(Projection):
    """All tokens (B, T, S) of a picture → (B, Q, D), what learned queries gathered from them.

    Queries and tokens go through the blocks together, and the queries alone come out.
    """

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.inner, self.inner_norm = nn.Linear(spec.feature_size, spec.hidden), _norm(spec.hidden)
        self.queries = nn.Parameter(torch.randn(spec.slots, spec.hidden))
        blocks = (TransformerBlock(spec.hidden, spec.heads) for _ in range(spec.blocks))
        self.blocks = nn.Sequential(*blocks)
        self.outer, self.outer_norm = nn.Linear(spec.hidden, width), _norm(width)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.inner_norm(self.inner(self.standard(features)))  # (B, T, h)
        queries = self.queries.expand(len(tokens), -1, -1)  # (B, Q, h)
        gathered = self.blocks(torch.cat((queries, tokens), 1))[:, : len(self.queries)]
        return self.outer_norm(self.outer(gathered))

    def likeness(self, features: Tensor) -> Tensor:
        """Give the least of all: what its training pictures were like is not known."""
        return torch.full((len(features),), -torch.inf)


class SwiGLUBlock(nn.Module):
    """A residual feed-forward block x + W_down (silu(W_gate n) · W_up n), n = norm(x) (..., D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class SwiGLUBridge(Projection):
    """An embedding (B, S) → (B, D), through residual blocks, as ImageBind-LLM has them.

    An embedding is of length 1, or a weighted mean of such, of several kinds of input.
    """

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__(spec)
        self.inner = nn.Linear(spec.feature_size, width)
        self.blocks = nn.Sequential(*(SwiGLUBlock(width, spec.hidden) for _ in range(spec.blocks)))

    def forward(self, features: Tensor) -> Tensor:
        return self.blocks(self.inner(self.standard(features)))

    def likeness(self, features: Tensor) -> Tensor:
        """Give the least of all: what its training pictures were like is not known."""
        return torch.full((len(features),), -torch.inf)


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-5)  # some libraries' default is 1e-6, which is another model


def slot_logits(logits: Tensor, slots: int, runner_up_slots: int) -> Tensor:
    """Repeat logits (B, E) for each slot → (B, Q, E), for the last ones without the likeliest.

    Args:
        logits: of each class.
        slots: Q, all of them.
        runner_up_slots: how many of them are the last ones.
    """
    first = logits[:, None].expand(-1, slots - runner_up_slots, -1)
    if not runner_up_slots:
        return first
    rest = logits.scatter(1, logits.argmax(1, keepdim=True), NEVER)
    return torch.cat([first, rest[:, None].expand(-1, runner_up_slots, -1)], 1)


def projection(spec: VisualSpec, width: int) -> Projection:
    """Make a projection of the spec's kind, for a base of `width`."""
    kinds: dict[ProjectionKind, Callable[[VisualSpec, int], Projection]] = {
        "global-mlp": GlobalMLP,
        "key-value-memory": KeyValueMemory,
        "query-transformer": QueryTransformer,
        "swiglu-bridge": SwiGLUBridge,
    }
    return kinds[spec.kind](spec, width)


def save_adapter(adapter: Adapter, passport: Passport, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        ValueError: the passport describes another shape.
        OSError: the file cannot be written.
    """
    if adapter.spec != passport.spec:
        raise ValueError("passport and adapter differ in shape")
    tensors = {k: v.detach().float().cpu().contiguous() for k, v in adapter.state_dict().items()}
    text = passport.to_json()
    data = save(tensors, metadata={"passport": text, "sha256": digest_of(text, tensors)})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(in_order(data))


def load_adapter(path: Path) -> tuple[Adapter, Passport]:
    """Load the adapter in fp32 on the CPU, not trainable, and its passport.

    Raises:
        CheckpointError: as `read_passport`, or a tensor that is missing, unknown, of another shape
            or type, or not finite, where the message names the first; or not what was saved.
    """
    header, data = read_file(path)
    passport = passport_of(header, path.name)
    with torch.device("meta"):
        adapter = Adapter(passport.spec)
    tensors = checked_tensors(header, data, adapter.state_dict(), path.name)
    adapter.load_state_dict(tensors, strict=True, assign=True)
    return adapter.requires_grad_(False), passport
