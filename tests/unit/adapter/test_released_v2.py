"""Released adapters of the second version and of ImageBind-LLM: every tensor finds its place."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from demo.adapter.adapter import load_adapter, save_adapter
from demo.adapter.passport import read_passport
from demo.adapter.released import read_released
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message, PromptForm

K, RANK = 10, 3
EYES = SimpleNamespace(
    name="eyes",
    fingerprint="print",
    token_size=12,
    class_token=True,
    preprocessing=SimpleNamespace(size=[4, 4]),
)
MATRICES = ("attention.wq", "attention.wk", "attention.wv", "attention.wo") + tuple(
    f"feed_forward.w{n}" for n in (1, 2, 3)
)
Tensors = dict[str, Tensor]


def sizes(base: Base, matrix: str) -> tuple[int, int]:
    """Rows and columns."""
    c = base.config
    query, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return {
        "wq": (query, c.width), "wk": (keys, c.width), "wv": (keys, c.width),
        "wo": (c.width, query), "w1": (c.ffn, c.width), "w3": (c.ffn, c.width),
        "w2": (c.width, c.ffn),
    }[matrix.partition(".")[2]]  # fmt: skip


def in_metas_order(rows: Tensor, head: int) -> Tensor:
    """Number i and i + d/2 of a head become neighbours 2 i and 2 i + 1."""
    out = torch.empty_like(rows)
    for start in range(0, len(rows), head):
        for i in range(head // 2):
            out[start + 2 * i] = rows[start + i]
            out[start + 2 * i + 1] = rows[start + i + head // 2]
    return out


def rotated(base: Base, matrix: str, rows: Tensor) -> Tensor:
    turned = matrix in ("attention.wq", "attention.wk")
    return in_metas_order(rows, base.config.head_dim) if turned else rows


def gates(base: Base, start: str, first: int) -> Tensors:
    shape = (1, base.config.heads, 1, 1)
    return {
        f"{start}layers.{n}.attention.gate": torch.randn(shape) * (n >= first)
        for n in range(base.config.layers)
    }


def norms(base: Base, start: str) -> Tensors:
    names = [f"layers.{n}.{kind}_norm" for n in range(3) for kind in ("attention", "ffn")]
    return {f"{start}{name}.weight": torch.rand(base.config.width) for name in (*names, "norm")}


def biases(base: Base, start: str, x: Tensor) -> Tensors:
    """Of W_q what it makes of x: it goes where the rows of W_q went."""
    tensors: Tensors = {}
    for layer in range(base.config.layers):
        at = f"{start}layers.{layer}."
        for matrix in MATRICES:
            if matrix not in ("attention.wk", "attention.wv"):
                tensors[f"{at}{matrix}.bias"] = torch.randn(sizes(base, matrix)[0])
        rows = base.weights.qkv(layer).dequantised()[: sizes(base, "attention.wq")[0]] @ x
        tensors[f"{at}attention.wq.bias"] = rotated(base, "attention.wq", rows)
    return tensors


def lora(base: Base, start: str) -> Tensors:
    tensors: Tensors = {}
    for layer in range(base.config.layers):
        for matrix in MATRICES:
            rows, columns = sizes(base, matrix)
            name = f"{start}layers.{layer}." + matrix.replace(".w", ".lora_w")
            tensors[f"{name}_l1.weight"] = torch.randn(RANK, columns).half()
            tensors[f"{name}_l2.weight"] = torch.randn(rows, RANK).half()
    return tensors


def sight(base: Base) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {"clip_proj": (32, 12)}
    shapes["visual_proj"] = (base.config.width, 32)
    at = "visual_blocks.0."
    shapes |= {f"{at}norm1": (32,), f"{at}attn.qkv": (96, 32), f"{at}attn.proj": (32, 32)}
    shapes |= {f"{at}norm2": (32,), f"{at}mlp.fc1": (128, 32), f"{at}mlp.fc2": (32, 128)}
    shapes |= {"clip_proj_norm": (32,), "visual_proj_norm": (base.config.width,)}
    tensors = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    return tensors | {"visual_query.weight": torch.randn(K, 32)}


def v2(base: Base, start: str = "llama.", *, x: Tensor, low: bool = False) -> Tensors:
    torch.manual_seed(4)
    layers = base.config.layers - 1
    tensors = sight(base) | gates(base, start, 1) | norms(base, start) | biases(base, start, x)
    tensors["adapter_query.weight"] = torch.randn(layers * K, base.config.width)
    if low:
        tensors |= lora(base, start)
        names = (f"{start}layers.{n}.attention.new_gate" for n in range(3))
        tensors |= {name: torch.rand(1, 1, 1, 1) for name in names}
    return tensors


def save(tensors: Any, folder: Path) -> Path:
    path = folder / "file.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture
def x(base: Base) -> Tensor:
    return torch.randn(base.config.width)


@pytest.mark.parametrize("start", ["llama.", "llma."])
@pytest.mark.parametrize("low", [False, True])
def test_every_tensor_of_version_2_finds_its_place(base, model, x, tmp_path, start, low):
    tensors = v2(base, start, x=x, low=low)
    path = save({"model": tensors, "config": {"w_bias": True, "w_lora": low}}, tmp_path)
    read, passport = read_released(path, base, "sees", tower=EYES)
    save_adapter(read, passport, tmp_path / "sees.safetensors")
    adapter, again = load_adapter(tmp_path / "sees.safetensors")
    assert again == passport == read_passport(tmp_path / "sees.safetensors")
    assert passport.spec.visual.channels == "BGR" and passport.preprocessing["channels"] == "BGR"
    assert passport.origin.kind.startswith("LLaMA-Adapter V2, " + ("LORA-BIAS" if low else "BIAS"))
    assert passport.spec.parameters == sum(p.numel() for p in adapter.parameters())
    delta, config = adapter.fixed_delta(model), base.config
    query, keys = sizes(base, "attention.wq")[0], sizes(base, "attention.wk")[0]
    for layer in range(config.layers):
        at = f"{start}layers.{layer}."
        bias = delta.qkv.bias[layer].split((query, keys, keys))
        weight = base.weights.qkv(layer).dequantised()[:query]
        assert torch.allclose(bias[0], weight @ x, atol=1e-5)
        assert not bias[1].any() and not bias[2].any()
        both = torch.cat([tensors[f"{at}feed_forward.w{n}.bias"] for n in (1, 3)])
        assert torch.equal(delta.gate_up.bias[layer], both)
        assert torch.equal(delta.down.bias[layer], tensors[f"{at}feed_forward.w2.bias"])
        assert torch.equal(delta.attention_output.bias[layer], tensors[f"{at}attention.wo.bias"])
        own = tensors[f"{at}ffn_norm.weight"]
        assert torch.allclose(delta.ffn_norm[layer], own, atol=1e-6)
        gate = tensors[f"{at}attention.gate"].flatten().tanh()
        if low:
            gate = gate * tensors[f"{at}attention.new_gate"].flatten()
            name = f"{at}attention.lora_wk"
            assert torch.equal(delta.qkv.down[layer, 1], tensors[f"{name}_l1.weight"].float())
            up = rotated(base, "attention.wk", delta.qkv.up[layer, query : query + keys])
            assert torch.equal(up, tensors[f"{name}_l2.weight"].float())
            name = f"{at}feed_forward.lora_w3"
            assert torch.equal(delta.gate_up.down[layer, 1], tensors[f"{name}_l1.weight"].float())
        if layer:
            assert torch.allclose(adapter.opening()[layer - 1], gate)
    assert torch.allclose(delta.output_norm, tensors[f"{start}norm.weight"], atol=1e-6)


def chat(base: Base) -> Tensors:
    tensors = norms(base, "")
    for layer in range(base.config.layers):
        for matrix in MATRICES:
            rows, columns = sizes(base, matrix)
            tensors[f"layers.{layer}.{matrix}_bias"] = torch.randn(rows)
            tensors[f"layers.{layer}.{matrix}_scale"] = torch.rand(columns)
    return tensors


def test_the_chat_model_has_scales_and_no_prompts(base, model, tmp_path):
    tensors = chat(base)
    del tensors["norm.weight"]  # which the released file may not have
    adapter, passport = read_released(save({"model": tensors}, tmp_path), base, "chat")
    assert (passport.spec.layers, passport.spec.prompts) == (0, 0)
    assert passport.origin.sampling["temperature"] == 0.7
    delta = adapter.fixed_delta(model)
    assert torch.equal(delta.output_norm, base.weights.output_norm)
    keys = slice(*np.cumsum([sizes(base, m)[0] for m in MATRICES[:2]]).tolist())
    bias = rotated(base, "attention.wk", delta.qkv.bias[1, keys])
    assert torch.equal(bias, tensors["layers.1.attention.wk_bias"])
    scale = tensors["layers.1.attention.wv_scale"]
    assert torch.allclose(delta.qkv.scale_in[1, 2], scale, atol=1e-6)
    scale = tensors["layers.2.feed_forward.w2_scale"]
    assert torch.allclose(delta.down.scale_in[2, 0], scale, atol=1e-6)
    prefix = adapter.fixed_prefix(model)
    assert prefix.key.shape[0] == prefix.gate.shape[0] == 0


def test_a_chat_with_it_is_written_as_it_was_taught(base):
    form = PromptForm("v2-chat")
    turns = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Who?")]
    text = base.tokenizer.decode(base.tokenizer.chat(turns, form=form))
    assert text.startswith("A chat between a curious human and an artificial intelligence")
    assert text.endswith("###Human: Hi###Assistant: Yes?###Human: Who?###Assistant:")
    assert form.stop == "###"


def test_the_bridge_of_imagebind_llm_is_a_projection(base: Base, model: Llama, tmp_path):
    torch.manual_seed(2)
    width, inner = base.config.width, 20
    tensors = gates(base, "llama.", 0) | lora(base, "llama.")
    tensors |= {
        "image_bind_proj.weight": torch.randn(width, 7),
        "image_bind_proj.bias": torch.randn(width),
    }
    for n in (1, 2):
        tensors[f"image_bind_norm_{n}.weight"] = torch.rand(width)
        for name, shape in (("f1", (inner, width)), ("f2", (width, inner)), ("f3", (inner, width))):
            tensors[f"image_bind_{name}_{n}.weight"] = torch.randn(shape) / 4
    tensors["prefix_query.weight"] = torch.randn(base.config.layers, width)
    adapter, passport = read_released(save({"model": tensors}, tmp_path), base, "bound")
    assert (passport.tower, passport.spec.prompts) == ("ImageBind-Huge", 1)
    assert passport.spec.parameters == sum(p.numel() for p in adapter.parameters())
    seen = torch.randn(2, 7)
    y = seen @ tensors["image_bind_proj.weight"].T
    y = y + tensors["image_bind_proj.bias"]
    for n in (1, 2):
        normed = y / (y.square().mean(1, keepdim=True) + 1e-6).sqrt()
        normed = normed * tensors[f"image_bind_norm_{n}.weight"]
        f1, f2, f3 = (tensors[f"image_bind_f{m}_{n}.weight"] for m in (1, 2, 3))
        y = y + (torch.nn.functional.silu(normed @ f1.T) * (normed @ f3.T)) @ f2.T
    assert torch.allclose(adapter.visual(seen), y, atol=1e-4)
    assert adapter.fixed_prefix(model, seen).key.shape[:2] == (base.config.layers, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "llama.layers.2.feed_forward.w3.bias",
            None,
            "lacks 'llama.layers.2.feed_forward.w3.bias'",
        ),
        ("llama.norm.weight", None, "lacks 'llama.norm.weight'"),
        ("llama.layers.1.attention.lora_wo_l2.weight", None, "lacks 'llama.layers.1.attention.lor"),
        (
            "llama.layers.1.attention.lora_wo_l2.weight",
            torch.zeros(36, 2),
            r"'llama.layers.1.attention.lora_wo_l2.weight' as \(36, 2\); .* \(36, 3\)",
        ),
        ("llama.layers.0.attention.lora_wq_l1.weight", torch.zeros(999, 36), "has a rank of 1 to"),
        ("llama.layers.0.ffn_norm.weight", torch.full((36,), torch.nan), "that are not finite"),
        ("llama.layers.0.attention.wk.bias", torch.zeros(3), r"wk.bias' as \(3,\)"),
        ("llama.layers.3.attention.wq.bias", torch.zeros(60), "which no adapter of its kind has"),
    ],
)
def test_what_is_not_whole_is_refused_by_name(base, x, tmp_path, name, value, message):
    tensors = v2(base, x=x, low=True)
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    with pytest.raises(CheckpointError, match=message):
        read_released(save({"model": tensors, "config": {}}, tmp_path), base, "sees", tower=EYES)
