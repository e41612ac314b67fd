"""Adapters written in others' forms come back as they were, or are refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import AdapterSpec, DeltaSpec, VisualSpec
from demo.adapter.export import export_litgpt, export_peft, main
from demo.adapter.passport import Passport
from demo.adapter.released import read_released
from demo.errors import InputError
from demo.llama.base import Base
from demo.llama.model import Llama

GATES_ALIKE = torch.tensor([[0.3], [-0.7]])


def made(base: Base, *, alike: bool = False, **fields: Any) -> tuple[Adapter, Passport]:
    """Make a random adapter of two layers and three prompts, or of a delta alone."""
    torch.manual_seed(1)
    size = {"layers": 2, "prompts": 3} if not fields.pop("alone", False) else {}
    spec = AdapterSpec.for_base(base.config, **({"layers": 0, "prompts": 0} | size | fields))
    adapter = Adapter(spec)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name != "prompts":
                parameter.normal_(0, 0.5)
        if alike:
            adapter.gate.copy_(GATES_ALIKE.expand_as(adapter.gate))
    tower = {"tower": "eyes", "tower_fingerprint": "x"} if spec.visual else {}
    return adapter, Passport("mine", "", base.name, base.fingerprint, spec, **tower)


def logits(model: Llama, adapter: Adapter) -> torch.Tensor:
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        hidden = model.forward(ids, prefix=adapter.prefix(model), delta=adapter.delta(model))
        return model.logits(hidden)


@pytest.mark.parametrize("form", ["peft", "litgpt", "lora"])
def test_what_is_written_reads_back_the_same(
    form: str, base: Base, model: Llama, tmp_path: Path
) -> None:
    if form == "lora":
        delta = DeltaSpec.for_base(base.config, rank=3)
        adapter, passport = made(base, alone=True, delta=delta)
    else:
        adapter, passport = made(base, alike=form == "peft")
    out = tmp_path / "out"
    write = export_litgpt if form == "litgpt" else export_peft
    kind = write(adapter, passport, base.config.layers, out)
    assert kind == {"peft": "ADAPTION_PROMPT", "litgpt": "adapter", "lora": "LORA"}[form]
    again, read = read_released(out, base, "again")
    assert read.origin is not None
    assert torch.allclose(logits(model, again), logits(model, adapter), atol=1e-5)
    plain = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3))  # closed gates
    assert not torch.allclose(logits(model, again), logits(model, plain), atol=1e-2)


@pytest.mark.parametrize(
    ("form", "fields", "message"),
    [
        ("peft", {}, "a gate for each of 6 heads.*Write it for litgpt"),
        ("peft", {"visual": VisualSpec(3, 4), "alike": True}, "looks at pictures"),
        ("litgpt", {"visual": VisualSpec(3, 4)}, "looks at pictures, which litgpt's adapter"),
        ("litgpt", {"delta": "bias"}, "changes biases, scales, norms or products"),
        ("peft", {"delta": "bias", "alone": True}, "PEFT's LoRA cannot hold"),
        ("peft", {"delta": "both", "alone": True}, "PEFT's LoRA cannot hold"),
    ],
)
def test_what_a_form_cannot_hold_is_said_and_nothing_written(
    form: str, fields: dict[str, Any], message: str, base: Base, tmp_path: Path
) -> None:
    deltas = {"bias": {"bias": True}, "both": {"rank": 2, "norms": True}}
    given = dict(fields)
    if "delta" in given:
        given["delta"] = DeltaSpec.for_base(base.config, **deltas[given["delta"]])
    adapter, passport = made(base, **given)
    write = export_peft if form == "peft" else export_litgpt
    with pytest.raises(InputError, match=message):
        write(adapter, passport, base.config.layers, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line_writes_and_refuses(
    base: Base, tiny_llama_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, passport = made(base, alike=True)
    save_adapter(adapter, passport, tmp_path / "mine.safetensors")
    flags = ["--adapters", str(tmp_path), "--llama", str(tiny_llama_folder())]
    flags += ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main(["mine", "--form", "peft", *flags]) == 0
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (settings["adapter_len"], settings["adapter_layers"]) == (3, 2)
    assert main(["other", "--form", "peft", *flags]) == 2
    assert "There is no adapter 'other'" in capsys.readouterr().err
