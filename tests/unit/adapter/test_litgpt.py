"""litgpt's adapter of version 2, beside a plain reference that computes as litgpt does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.foreign import LITGPT_V2
from demo.adapter.released import read_released
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.config import LlamaConfig
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama

K, FIRST = 4, 1  # prompts, and the first layer that has any
IDS = [7, 3, 99, 41, 7, 180, 12]
Tensors = dict[str, Tensor]


def checkpoint(base: Base, fused: str = "attn.attn", *, opened: bool = True) -> Tensors:
    """As litgpt saves one: everything that it trains, by its names."""
    torch.manual_seed(5)
    c = base.config
    head_rows = (c.heads + 2 * c.kv_heads) * c.head_dim
    rows = {
        fused: head_rows, "attn.proj": c.width, "mlp.fc_1": c.ffn, "mlp.fc_2": c.ffn,
        "mlp.proj": c.width,
    }  # fmt: skip
    given: Tensors = {"transformer.ln_f.weight": 1 + 0.1 * torch.randn(c.width)}
    for n in range(c.layers):
        at = f"transformer.h.{n}."
        for name, count in rows.items():
            given[f"{at}{name}.adapter_bias"] = 0.1 * torch.randn(count)
            given[f"{at}{name}.adapter_scale"] = 1 + 0.1 * torch.randn(count)
        for name in ("norm_1", "norm_2"):
            given[f"{at}{name}.weight"] = 1 + 0.1 * torch.randn(c.width)
        if n >= FIRST:
            given[f"{at}attn.adapter_wte.weight"] = torch.randn(K, c.width)
            given[f"{at}attn.gating_factor"] = opened * torch.randn(1, 1, c.heads, 1)
    given["lm_head.adapter_bias"] = torch.zeros(c.vocab + 5)  # its vocabulary is padded
    given["lm_head.adapter_scale"] = torch.ones(c.vocab + 5)
    return given


def saved(path: Path, given: Tensors) -> Path:
    torch.save({"model": given}, path / "lit_model.pth.adapter_v2")
    return path / "lit_model.pth.adapter_v2"


def together(matrix: Tensor, c: LlamaConfig) -> Tensor:
    """Put rows of W_q, W_k, W_v as litgpt had them: of a group its queries, its key, its value."""
    sizes = (c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim)
    groups = (part.chunk(c.kv_heads) for part in matrix.split(sizes))
    return torch.cat([rows for group in zip(*groups, strict=True) for rows in group])


def reference(model: Llama, given: Tensors) -> Tensor:
    """Compute logits (T, V) as litgpt did before 0.5.5, in fp32 matrices."""
    c, w, count = model.config, model.weights, len(IDS)
    each = c.heads // c.kv_heads

    def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
        at = f"{name}.adapter_"
        return given[f"{at}scale"] * (x @ weight.T + given[f"{at}bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        root = (x.square().mean(-1, keepdim=True) + c.norm_eps).rsqrt()
        return x * root * given[f"{name}.weight"]

    def cut(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grouped = x.view(len(x), c.kv_heads, each + 2, c.head_dim).permute(1, 2, 0, 3)
        q, k, v = grouped.split((each, 1, 1), 1)
        k, v = (part.expand(-1, each, -1, -1) for part in (k, v))
        return q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)  # (H, T, d)

    def turned(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        cos, sin = model.cos[:count], model.sin[:count]
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    x = w.embedding.dequantised()[IDS]
    for n in range(c.layers):
        at = f"transformer.h.{n}"
        fused = together(w.qkv(n).dequantised(), c)
        q, k, v = cut(linear(f"{at}.attn.attn", norm(f"{at}.norm_1", x), fused))
        y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
        if n >= FIRST:
            prompts = given[f"{at}.attn.adapter_wte.weight"]
            _, ak, av = cut(linear(f"{at}.attn.attn", prompts, fused))
            gate = given[f"{at}.attn.gating_factor"].view(-1, 1, 1)
            y = y + gate * F.scaled_dot_product_attention(turned(q), ak, av)
        y = y.transpose(0, 1).flatten(1)
        x = x + linear(f"{at}.attn.proj", y, w.attention_output(n).dequantised())
        inner = norm(f"{at}.norm_2", x)
        gate_rows, up_rows = w.gate_up(n).dequantised().chunk(2)
        inner = F.silu(linear(f"{at}.mlp.fc_1", inner, gate_rows)) * linear(
            f"{at}.mlp.fc_2", inner, up_rows
        )
        x = x + linear(f"{at}.mlp.proj", inner, w.down(n).dequantised())
    return norm("transformer.ln_f", x) @ w.output.dequantised().T


def test_logits_are_those_of_litgpt(base: Base, tmp_path: Path) -> None:
    given = checkpoint(base)
    adapter, passport = read_released(saved(tmp_path, given), base, "mine")
    assert passport.origin and passport.origin.kind == LITGPT_V2
    spec = passport.spec
    assert (spec.layers, spec.prompts, spec.gate) == (base.config.layers - FIRST, K, "raw")
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 64)
    with torch.no_grad():
        expected = reference(model, given)
        hidden = model.forward(
            torch.tensor([IDS]),
            prefix=adapter.fixed_prefix(model),
            delta=adapter.fixed_delta(model),
        )
        assert (model.logits(hidden[0]) - expected).abs().max() <= 1e-4
        plain = model.logits(model.forward(torch.tensor([IDS]))[0])
    assert (plain - expected).abs().max() > 0.1


def test_of_a_later_litgpt_all_but_open_prompts_is_read(base: Base, tmp_path: Path) -> None:
    before = saved(tmp_path, closed := checkpoint(base, opened=False))
    expected = read_released(before, base, "mine")[0].state_dict()
    later = {}
    for name, value in closed.items():
        rows = value
        if ".attn.attn." in name:
            c = base.config
            groups = value.view(c.kv_heads, -1, c.head_dim)
            each = groups.shape[1] - 2
            rows = torch.cat([part.flatten() for part in groups.split((each, 1, 1), 1)])
        later[name.replace(".attn.attn.", ".attn.qkv.")] = rows
    found = read_released(saved(tmp_path, later), base, "mine")[0].state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    opened = checkpoint(base, "attn.qkv")
    with pytest.raises(CheckpointError, match="from other rows than those of W_k and W_v"):
        read_released(saved(tmp_path, opened), base, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.adapter_scale": torch.full((400,), 1.5)}, "changes the output matrix too"),
        ({"lm_head.adapter_bias": torch.full((400,), 0.5)}, r"\('lm_head.adapter_bias'\)"),
        ({"transformer.h.1.mlp.fc_2.adapter_scale": None}, "lacks 'layers.1.mlp.fc_2.adapter_sc"),
        ({"transformer.h.1.mlp.proj.adapter_bias": torch.zeros(7)}, "Start with the LLaMA"),
        ({"transformer.h.0.mlp.gate.adapter_bias": torch.zeros(7)}, "which no adapter of its kind"),
        ({"transformer.ln_f.weight": torch.full((36,), torch.nan)}, "not finite"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(
    change: dict[str, Tensor | None], message: str, base: Base, tmp_path: Path
) -> None:
    given = {k: v for k, v in (checkpoint(base) | change).items() if v is not None}
    with pytest.raises(CheckpointError, match=message):
        read_released(saved(tmp_path, given), base, "mine")
