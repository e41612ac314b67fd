"""Adapters of PEFT and litgpt, in the layouts that these libraries write."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from demo.adapter import released
from demo.adapter.adapter import load_adapter, save_adapter
from demo.adapter.foreign import (
    LITGPT,
    OPEN_QUESTION,
    PEFT_LORA,
    PEFT_PROMPTS,
    open_question,
    read_foreign,
)
from demo.adapter.library import Compatibility, Library
from demo.adapter.released import read_released
from demo.adapter.shelf import Shelf
from demo.errors import CheckpointError
from demo.llama.base import Base

ME = "m" * 32
BEFORE = "base_model.model.model.layers"
K, RANK = 4, 3
Tensors = dict[str, Tensor]


def sizes(base: Base) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each matrix, by PEFT's name."""
    c = base.config
    query, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return {
        "self_attn.q_proj": (query, c.width), "self_attn.k_proj": (keys, c.width),
        "self_attn.v_proj": (keys, c.width), "self_attn.o_proj": (c.width, query),
        "mlp.gate_proj": (c.ffn, c.width), "mlp.up_proj": (c.ffn, c.width),
        "mlp.down_proj": (c.width, c.ffn),
    }  # fmt: skip


def lora(base: Base, targets: dict[str, int], layers: tuple[int, ...] = (0, 1, 2)) -> Tensors:
    """Factors of the matrices named, of a rank each."""
    tensors: Tensors = {}
    for layer in layers:
        for target, rank in targets.items():
            outputs, inputs = sizes(base)[target]
            at = f"{BEFORE}.{layer}.{target}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(rank, inputs)
            tensors[f"{at}.lora_B.weight"] = torch.randn(outputs, rank)
    return tensors


def prompts(base: Base, layers: tuple[int, ...] = (1, 2)) -> Tensors:
    at = f"{BEFORE}.{{}}.self_attn.adaption_{{}}"
    return {
        at.format(n, part): torch.randn(shape)
        for n in layers
        for part, shape in (("prompt", (1, K, base.config.width)), ("gate", (1,)))
    }


def folder(path: Path, tensors: Tensors, *, old: bool = False, **settings: Any) -> Path:
    """As `save_pretrained` of PEFT leaves it; `old` with the file of before safetensors."""
    path.mkdir()
    fields = {"peft_type": "LORA", "lora_alpha": 12, "r": RANK, "init_lora_weights": True}
    (path / "adapter_config.json").write_text(json.dumps(fields | settings))
    (path / "README.md").write_text("---\nlibrary_name: peft\n---")
    if old:
        torch.save(tensors, path / "adapter_model.bin")
    else:
        save_file(tensors, path / "adapter_model.safetensors")
    return path


def zipped(path: Path) -> Path:
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for one in path.iterdir():
            file.write(one, f"{path.name}/{one.name}")
    return archive


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("way", [lambda path: path, zipped])
def test_adaption_prompts(
    old: bool, way: Callable[[Path], Path], base: Base, tmp_path: Path
) -> None:
    given = prompts(base)
    path = way(folder(tmp_path / "mine", given, old=old, peft_type="ADAPTION_PROMPT"))
    adapter, passport = read_released(path, base, "mine")
    assert passport.origin and passport.origin.kind == PEFT_PROMPTS
    assert passport.origin.prompt is None and passport.spec.gate == "raw"
    assert (passport.spec.layers, passport.spec.prompts) == (2, K)
    for place, layer in enumerate((1, 2)):
        at = f"{BEFORE}.{layer}.self_attn.adaption_"
        assert torch.equal(adapter.prompts[place], given[f"{at}prompt"][0])
        assert torch.equal(adapter.gate[place], given[f"{at}gate"].expand(base.config.heads))


def test_a_lora_is_what_peft_adds_to_each_matrix(base: Base, tmp_path: Path) -> None:
    """Some layers, some matrices, a rank and an alpha of its own for some."""
    targets = {"self_attn.q_proj": RANK, "self_attn.v_proj": RANK, "mlp.down_proj": 5}
    given = lora(base, targets, layers=(0, 2))
    path = folder(tmp_path / "mine", given, alpha_pattern={"down_proj": 20, "k_proj": 99})
    adapter, passport = read_released(path, base, "mine")
    assert passport.origin and passport.origin.kind == PEFT_LORA
    assert passport.spec.delta and passport.spec.delta.rank == 5
    assert passport.spec.layers == 0
    state, start = adapter.state_dict(), 0
    for place, name in enumerate(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")):
        rows = sizes(base)[name][0]
        for layer in range(3):
            up = state["changes.qkv.up"][layer, start : start + rows]
            added = up @ state["changes.qkv.down"][layer, place]
            at = f"{BEFORE}.{layer}.{name}.lora_"
            expected = torch.zeros_like(added)
            if f"{at}A.weight" in given:
                expected = 12 / RANK * given[f"{at}B.weight"] @ given[f"{at}A.weight"]
            assert torch.allclose(added, expected, atol=1e-4)
        start += rows
    low, up = state["changes.down.down"][2, 0], state["changes.down.up"][2]
    at = f"{BEFORE}.2.mlp.down_proj.lora_"
    assert torch.allclose(up @ low, 4 * given[f"{at}B.weight"] @ given[f"{at}A.weight"], atol=1e-4)
    assert not state["changes.gate_up.up"].any()


def test_the_root_of_the_rank_where_it_says_so(base: Base, tmp_path: Path) -> None:
    given = lora(base, {"self_attn.o_proj": 4})
    path = folder(tmp_path / "mine", given, use_rslora=True)
    state = read_released(path, base, "mine")[0].state_dict()
    name = f"{BEFORE}.1.self_attn.o_proj.lora_B.weight"
    assert torch.equal(state["changes.attention_output.up"][1], given[name] * 6)


@pytest.mark.parametrize("shape", [(1, 1, 6, 1), (1, 6, 1, 1), (1,)])
def test_litgpts_checkpoint(shape: tuple[int, ...], base: Base, tmp_path: Path) -> None:
    at = "transformer.h.{}.attn."
    given = {
        at.format(n) + part: value
        for n in (1, 2)
        for part, value in (
            ("adapter_wte.weight", torch.randn(K, base.config.width)),
            ("gating_factor", torch.randn(shape)),
        )
    }
    path = tmp_path / "lit_model.pth.adapter"
    torch.save({"model": given}, path)
    adapter, passport = read_released(path, base, "mine")
    assert passport.origin and passport.origin.kind == LITGPT and passport.spec.gate == "raw"
    assert torch.equal(adapter.prompts[0], given[at.format(1) + "adapter_wte.weight"])
    gate = given[at.format(2) + "gating_factor"].flatten().expand(base.config.heads)
    assert torch.equal(adapter.gate[1], gate)


def test_what_litgpts_first_version_leaves_open_is_told(base: Base, tmp_path: Path) -> None:
    """Which litgpt made it: with closed gates it does not matter, nor with one head of keys."""
    assert base.config.kv_heads > 1
    for opening, told in ((0.5, OPEN_QUESTION), (0.0, "")):
        at = f"transformer.h.{base.config.layers - 1}.attn."
        given = {
            f"{at}adapter_wte.weight": torch.randn(K, base.config.width),
            f"{at}gating_factor": torch.full((1, 1, base.config.heads, 1), opening),
        }
        torch.save({"model": given}, tmp_path / "lit_model.pth.adapter")
        adapter, passport = read_released(tmp_path / "lit_model.pth.adapter", base, "mine")
        assert passport.origin and passport.origin.note == told
        save_adapter(adapter, passport, tmp_path / "mine.safetensors")
        assert load_adapter(tmp_path / "mine.safetensors")[1] == passport
    assert '"note"' not in passport.to_json()
    state, one = {"gate": torch.ones(1, 6)}, replace(base.config, kv_heads=1)
    assert open_question(LITGPT, state, one) == ""


REFUSED: dict[str, tuple[Callable[[Base], Tensors], dict[str, Any], str]] = {
    "weights decomposed": (
        lambda base: lora(base, {"mlp.up_proj": 2}), {"use_dora": True}, "a LoRA with use_dora",
    ),
    "a base of its own": (
        lambda base: lora(base, {"mlp.up_proj": 2}), {"init_lora_weights": "pissa_niter_4"},
        "a LoRA with pissa_niter_4, which is not known here. Plain LoRA is",
    ),
    "a module besides": (
        lambda base: lora(base, {"mlp.up_proj": 2})
        | {"base_model.model.lm_head.weight": torch.zeros(3, 3)}, {},
        "holds 'base_model.model.lm_head.weight', which no adapter of its kind has",
    ),
    "another width": (
        lambda base: {n: torch.randn(RANK, 77) for n in lora(base, {"mlp.up_proj": 2})}, {},
        "Start with the LLaMA",
    ),
    "a pattern": (
        lambda base: lora(base, {"mlp.up_proj": 2}), {"alpha_pattern": {"(a+)+": 3}},
        "names modules by the pattern '(a+)+'",
    ),
    "no number": (
        lambda base: lora(base, {"mlp.up_proj": 2}), {"lora_alpha": "much"}, "which is no number",
    ),
    "prompts in the middle": (
        lambda base: prompts(base, (0, 1)), {}, "has prompts in the layers [0, 1], where a base",
    ),
}  # fmt: skip


@pytest.mark.matrix("A8")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_held_is_refused_by_name(case: str, base: Base, tmp_path: Path) -> None:
    tensors, settings, message = REFUSED[case]
    path = folder(tmp_path / "mine", tensors(base), **settings)
    with pytest.raises(CheckpointError) as caught:
        read_released(path, base, "mine")
    assert message in str(caught.value)


def test_a_folder_that_lacks_something(base: Base, tmp_path: Path) -> None:
    path = folder(tmp_path / "mine", lora(base, {"mlp.up_proj": 2}))
    with pytest.raises(CheckpointError, match=r"is a LoRA without its adapter_config\.json"):
        read_released(path / "adapter_model.safetensors", base, "mine")
    (path / "adapter_model.safetensors").rename(path / "other")
    with pytest.raises(CheckpointError, match=r"'mine' holds no adapter_model\.safetensors"):
        read_released(path, base, "mine")
    (path / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"holds no readable adapter_config\.json"):
        read_released(path, base, "mine")


@pytest.mark.matrix("A1")
def test_an_old_folder_runs_nothing(base: Base, tmp_path: Path) -> None:
    path = folder(tmp_path / "mine", {}, old=True)
    torch.save({"x.lora_A.weight": Touches(tmp_path / "ran")}, path / "adapter_model.bin")
    for way in (path, zipped(path)):
        with pytest.raises(CheckpointError, match="not a plain PyTorch file"):
            read_released(way, base, "mine")
    assert not (tmp_path / "ran").exists()


class Touches:
    """A pickle of this makes a file when it is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_zip_is_brought_to_the_library(base: Base, tmp_path: Path) -> None:
    path = zipped(folder(tmp_path / "My LoRA", lora(base, {"self_attn.v_proj": RANK})))
    shelf = Library(tmp_path)
    fit = Compatibility(base.name, base.fingerprint, base.config, None, None)
    name = Shelf(shelf).add(path, ME, fit, base, None)
    assert name == "my-lora"
    passport = load_adapter(tmp_path / f"{name}.safetensors")[1]
    assert passport.origin and passport.origin.kind == PEFT_LORA
    assert passport.origin.file == "My LoRA.zip"
    alone = tmp_path / "x" / "adapter_model.safetensors"
    folder(alone.parent, prompts(base), peft_type="ADAPTION_PROMPT")
    assert Shelf(shelf).add(alone, ME, fit, base, None) == "adapter-model"


def test_the_command_line_takes_a_folder(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "open_base", lambda *rest: base)
    path = folder(tmp_path / "mine", lora(base, {"self_attn.v_proj": RANK}))
    arguments = [str(path), "--out", "told", "--adapters", str(tmp_path)]
    assert released.main(arguments) == 0
    assert capsys.readouterr().out == f"told: PEFT, LoRA, for {base.name}: LoRA of rank 3.\n"
    assert load_adapter(tmp_path / "told.safetensors")[1].name == "told"


def test_a_zip_whose_list_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("adapter_config.json", "{}")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02", b"XX\x01\x02"))
    assert zipfile.is_zipfile(path)
    with pytest.raises(CheckpointError, match="damaged zip"):
        read_foreign(path)
