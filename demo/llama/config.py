"""The shape of a LLaMA, read from whatever names it came with, and its rotary positions."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.errors import CheckpointError

if TYPE_CHECKING:  # the page reads configurations and must not wait for torch
    from torch import Tensor


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for a longer window.

    `linear` divides every frequency by `factor`. `llama3` divides only the slow ones, with a smooth
    band between `low_frequency` and `high_frequency` turns over the `original_context` tokens of
    the first training (Llama 3.1).

    Raises:
        CheckpointError: another kind of scaling, named, or constants out of range.
    """

    kind: str  # "linear" or "llama3"
    factor: float
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3"):
            raise CheckpointError(
                f"This model stretches its rotary positions by '{self.kind:.40}'; linear and "
                "llama3 scaling are supported. Choose a LLaMA with one of these or with none."
            )
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise CheckpointError(
                f"The model's rotary scaling factor is {self.factor}; it must be a number above 0. "
                "Fetch the model again."
            )
        if not 0 < self.low_frequency < self.high_frequency or self.original_context < 1:
            raise CheckpointError(
                f"The model's llama3 rotary band is {self.low_frequency} to {self.high_frequency} "
                f"turns over {self.original_context} tokens; its low end must be above 0 and below "
                "its high end. Fetch the model again."
            )

    @classmethod
    def from_hf(cls, rope: Mapping[str, Any]) -> "RopeScaling | None":
        """Read `rope_scaling` of transformers 4 or `rope_parameters` of transformers 5."""
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return None
        return cls(
            kind=str(kind),
            factor=float(rope.get("factor", 1.0)),
            low_frequency=float(rope.get("low_freq_factor", 1.0)),
            high_frequency=float(rope.get("high_freq_factor", 4.0)),
            original_context=int(rope.get("original_max_position_embeddings", 8192)),
        )

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "RopeScaling | None":
        """Read GGUF keys. Only `linear` is written there: llama3 comes as a tensor of factors."""
        old = metadata.get("llama.rope.scale_linear") or 1.0
        kind = metadata.get("llama.rope.scaling.type", "linear" if old != 1.0 else "none")
        if kind == "none":
            return None
        return cls(str(kind), float(metadata.get("llama.rope.scaling.factor", old)))


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and constants of one LLaMA. `head_dim` need not be `width / heads`.

    Raises:
        CheckpointError: sizes that no LLaMA can have, or another architecture, named.
    """

    layers: int  # N
    width: int  # D
    heads: int  # H
    kv_heads: int  # KV, divides H
    head_dim: int  # even
    ffn: int  # F
    vocab: int  # V
    norm_eps: float
    rope_theta: float
    context: int  # positions the model was trained for
    tied: bool  # the output matrix is the embedding
    rope_scaling: RopeScaling | None = None
    rope_factors: tuple[float, ...] | None = None  # one divisor a frequency, as GGUF stores llama3

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
            value = getattr(self, name)
            if type(value) is not int or not 0 < value < 2**31:
                raise _damaged(f"{name} is {value!r:.40}, not a whole number above 0")
        for name in ("norm_eps", "rope_theta"):
            value = getattr(self, name)
            if not (isinstance(value, float) and math.isfinite(value) and value > 0):
                raise _damaged(f"{name} is {value!r:.40}, not a number above 0")
        if self.heads % self.kv_heads:
            raise _damaged(
                f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly"
            )
        if self.head_dim % 2:
            raise _damaged(f"head_dim is {self.head_dim}, and rotary positions need an even one")
        if self.rope_factors is not None:
            self._check_factors(self.rope_factors)

    def _check_factors(self, factors: tuple[float, ...]) -> None:
        if len(factors) != self.head_dim // 2:
            wanted = self.head_dim // 2
            raise _damaged(f"there are {len(factors)} rotary factors where {wanted} belong")
        if not all(math.isfinite(factor) and factor > 0 for factor in factors):
            raise _damaged("a rotary factor is not a number above 0")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "LlamaConfig":
        """Read the fields of a Hub `config.json`, of transformers 4 or 5.

        Not through transformers' own `LlamaConfig`, which takes seconds to import and accepts what
        we refuse by name.
        """
        kind = config.get("model_type", "unknown")
        if kind != "llama":
            raise _another(str(kind))
        for name in ("attention_bias", "mlp_bias"):
            if config.get(name):
                raise CheckpointError(
                    f"This LLaMA has biases ({name}), which the 8-bit base does not hold. "
                    "Use a LLaMA without biases."
                )
        if config.get("hidden_act", "silu") != "silu":
            raise CheckpointError(
                f"This LLaMA's activation is {config['hidden_act']!r:.40}; only silu is supported. "
                "Use a LLaMA with silu."
            )
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        heads, width = _need(config, "num_attention_heads"), _need(config, "hidden_size")
        return cls(
            layers=_need(config, "num_hidden_layers"),
            width=width,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or _even_share(width, heads),
            ffn=_need(config, "intermediate_size"),
            vocab=_need(config, "vocab_size"),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            context=config.get("max_position_embeddings", 2048),
            tied=bool(config.get("tie_word_embeddings", False)),
            rope_scaling=RopeScaling.from_hf(rope),
        )

    @classmethod
    def from_gguf(
        cls,
        metadata: Mapping[str, Any],
        *,
        vocab: int,
        tied: bool,
        rope_factors: tuple[float, ...] | None = None,
    ) -> "LlamaConfig":
        """Read GGUF metadata, with what only the tensors tell.

        Args:
            metadata: key to value; only the keys of `general.` and `llama.` are read.
            vocab: rows of the embedding.
            tied: there is no `output.weight`.
            rope_factors: `rope_freqs.weight`, which is how llama.cpp writes llama3 scaling.
        """
        kind = metadata.get("general.architecture", "unknown")
        if kind != "llama":
            raise _another(str(kind))
        if metadata.get("llama.expert_count"):
            raise _another("mixture-of-experts llama")
        heads = _need(metadata, "llama.attention.head_count")
        width = _need(metadata, "llama.embedding_length")
        rotary = metadata.get("llama.rope.dimension_count")
        head_dim = metadata.get("llama.attention.key_length") or rotary or _even_share(width, heads)
        if rotary not in (None, head_dim):
            raise CheckpointError(
                f"This model rotates {rotary} of {head_dim} numbers in a head; a LLaMA "
                "rotates all. Use a LLaMA."
            )
        if metadata.get("llama.attention.value_length", head_dim) != head_dim:
            raise _damaged("its keys and values differ in length")
        return cls(
            layers=_need(metadata, "llama.block_count"),
            width=width,
            heads=heads,
            kv_heads=metadata.get("llama.attention.head_count_kv") or heads,
            head_dim=head_dim,
            ffn=_need(metadata, "llama.feed_forward_length"),
            vocab=vocab,
            norm_eps=_decimal(metadata.get("llama.attention.layer_norm_rms_epsilon", 1e-5)),
            rope_theta=_decimal(metadata.get("llama.rope.freq_base", 10_000.0)),
            context=metadata.get("llama.context_length", 2048),
            tied=tied,
            rope_scaling=RopeScaling.from_gguf(metadata),
            rope_factors=rope_factors,
        )

    @classmethod
    def from_params(cls, params: Mapping[str, Any], *, vocab: int) -> "LlamaConfig":
        """Read Meta's `params.json`.

        Args:
            params: the file's fields; `vocab_size` in it is -1 in the first LLaMA, so it is not
                trusted.
            vocab: rows of the embedding.
        """
        width, heads = _need(params, "dim"), _need(params, "n_heads")
        theta = float(params.get("rope_theta") or 10_000.0)
        scaling = None
        if params.get("use_scaled_rope"):
            # Meta's file does not hold the factor. Llama 3.1 stretches by 8; the two small models
            # of 3.2, the only scaled ones narrower than 4096, by 32.
            factor = params.get("rope_scaling_factor") or (32.0 if width < 4096 else 8.0)
            scaling = RopeScaling("llama3", float(factor))
        return cls(
            layers=_need(params, "n_layers"),
            width=width,
            heads=heads,
            kv_heads=params.get("n_kv_heads") or heads,
            head_dim=params.get("head_dim") or _even_share(width, heads),
            ffn=_meta_ffn(params),
            vocab=vocab,
            norm_eps=float(params.get("norm_eps", 1e-5)),
            rope_theta=theta,
            context=_meta_context(params, theta=theta, scaled=scaling is not None),
            tied=False,
            rope_scaling=scaling,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain fields, for `json.dump`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "LlamaConfig":
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: fields are missing, unknown or out of range.
        """
        values = dict(fields)
        try:
            if values.get("rope_scaling") is not None:
                values["rope_scaling"] = RopeScaling(**values["rope_scaling"])
            if values.get("rope_factors") is not None:
                values["rope_factors"] = tuple(values["rope_factors"])
            return cls(**values)
        except TypeError as error:
            raise _damaged("its fields are not those of a LLaMA") from error


def rotary_frequencies(config: LlamaConfig) -> np.ndarray:
    """Compute the radians that a position turns each pair of a head's numbers, scaling applied.

    Ours, not transformers' `ROPE_INIT_FUNCTIONS`: those compute in fp32, and give no numbers for a
    GGUF's table of factors.

    Returns:
        float64 (head_dim / 2,): pair i holds numbers i and i + head_dim / 2.

    Source: Llama 3.1's `apply_scaling` for the llama3 band; every pair is parity-tested with
    transformers.
    """
    half = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    frequencies = config.rope_theta**-half
    if config.rope_factors is not None:
        return frequencies / np.asarray(config.rope_factors, np.float64)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_context * frequencies / (2 * math.pi)
    band = scaling.high_frequency - scaling.low_frequency
    # 1 keeps a frequency as it is, 0 divides it by the whole factor.
    keep = np.clip((turns - scaling.low_frequency) / band, 0.0, 1.0)
    return frequencies * (keep + (1 - keep) / scaling.factor)


def half_split(matrix: "Tensor", heads: int) -> "Tensor":
    """Reorder rows of q or k from Meta's order to Hugging Face's.

    Meta and llama.cpp turn neighbours (2i, 2i + 1) of a head together, Hugging Face i and i + d/2.

    Args:
        matrix: (heads * d, ...), any trailing shape, so a bias will do.
        heads: query heads for q, key-value heads for k.

    WeightsSource: `permute` of transformers' `convert_llama_weights_to_hf.py`.
    """
    half = matrix.shape[0] // heads // 2
    return matrix.unflatten(0, (heads, half, 2)).transpose(1, 2).reshape(matrix.shape)


def _meta_ffn(params: Mapping[str, Any]) -> int:
    """Meta's rule: two thirds of four widths, times a multiplier, rounded up to a multiple."""
    hidden = int(2 * (4 * _need(params, "dim")) / 3)
    if params.get("ffn_dim_multiplier"):
        hidden = int(params["ffn_dim_multiplier"] * hidden)
    multiple = params.get("multiple_of") or 256
    return multiple * math.ceil(hidden / multiple)


def _meta_context(params: Mapping[str, Any], *, theta: float, scaled: bool) -> int:
    """Meta's file does not say; the constants that changed between releases do."""
    if params.get("max_seq_len"):
        return int(params["max_seq_len"])
    if scaled:
        return 131_072
    if theta == 1_000_000:  # Code Llama
        return 16_384
    if theta == 500_000:  # Llama 3
        return 8192
    return 2048 if params.get("norm_eps") == 1e-6 else 4096  # LLaMA 1, Llama 2


def _decimal(value: float) -> float:
    """Read a GGUF's fp32 constant as it was meant: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _need(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise _damaged(f"it lacks '{name}'")
    return fields[name]


def _even_share(width: int, heads: int) -> int:
    if type(width) is not int or type(heads) is not int or heads < 1 or width % heads:
        raise _damaged(f"a width of {width!r:.40} cannot be split into {heads!r:.40} heads")
    return width // heads


def _another(kind: str) -> CheckpointError:
    return CheckpointError(
        f"This is a {kind[:40]} model; only the LLaMA architecture is supported. "
        "Choose a LLaMA: a GGUF file, a safetensors folder, a Hub id or Meta's checkpoint."
    )


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(
        f"The model's configuration is damaged: {what}. Fetch the model again, or choose another."
    )
