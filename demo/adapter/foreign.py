"""Adapters that other libraries keep: PEFT's AdaptionPrompt and LoRA folders, litgpt's checkpoints.

A folder of PEFT's holds `adapter_config.json` and `adapter_model.safetensors`, or `.bin` in older
ones; a zip of it will do. Of layer N, behind whatever the library put before:

    layers.N.self_attn.adaption_prompt (1, K, D), layers.N.self_attn.adaption_gate (1,)
    layers.N.{self_attn,mlp}.X_proj.lora_A.weight (r, I), ….lora_B.weight (O, r)

and litgpt's `lit_model.pth.adapter`, as lit-llama's, of the last layers

    transformer.h.N.attn.adapter_wte.weight (K, D), transformer.h.N.attn.gating_factor of H or one

and of version 2 what `litgpt.py` has. Both multiply by the gate as it is. Rows are in our order:
both turn the halves of a head.
"""

import json
import math
import re
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from demo.adapter.config import MAX_RANK, AdapterSpec, DeltaSpec
from demo.adapter.litgpt import take_litgpt_changes
from demo.adapter.released_tensors import ReleasedTensors
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.config import LlamaConfig
from demo.llama.weights.torch_zip import read_torch_zip

PEFT_PROMPTS, PEFT_LORA = "PEFT, AdaptionPrompt", "PEFT, LoRA"
LITGPT, LITGPT_V2 = "litgpt, adapter", "litgpt, adapter v2"
KINDS = {  # by what a tensor's name ends with, the more telling first
    LITGPT_V2: (".adapter_bias", ".adapter_scale"),
    LITGPT: (".attn.gating_factor",),
    PEFT_PROMPTS: (".adaption_gate",),
    PEFT_LORA: (".lora_A.weight", ".lora_A.default.weight"),
}
CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# Our products, and PEFT's names of the matrices in each.
PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention_output": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
# What else a LoRA may be, and would not be itself without.
OTHER_LORA = (
    *("use_dora", "use_qalora", "use_bdlora", "kasa_config", "velora_config", "arrow_config"),
    *("fan_in_fan_out", "layer_replication", "alora_invocation_tokens"),
)
# litgpt's files of version 1 look alike, whichever of its versions made them.
OPEN_QUESTION = (
    "Nothing in this file says which litgpt made it, and from 0.5.5 on litgpt takes its prompts' "
    "keys and values from other rows of the base than those before. It is read as made by an "
    "earlier one; made by a later one, it will not answer as it did there."
)
OWN_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # beginnings that change the base too


def recognise(names: Collection[Any]) -> str:
    """Say in words whose adapter has tensors of these names, "" for none that is known here."""
    texts = [name for name in names if isinstance(name, str)]
    return next((kind for kind, ends in KINDS.items() if any(t.endswith(ends) for t in texts)), "")


def read_foreign(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a folder, its zip, or a file of weights → tensors by name, and the folder's settings.

    Raises:
        CheckpointError: something is missing or damaged.
    """
    if path.is_dir():
        return _folder(path, path.name)
    if zipfile.is_zipfile(path):
        with _archive(path) as archive:
            members = {Path(name).name: name for name in archive.namelist()}
            if CONFIG in members:
                with tempfile.TemporaryDirectory(prefix="adapter-") as folder:
                    for name in (CONFIG, *WEIGHTS):
                        if name in members:
                            (Path(folder) / name).write_bytes(_member(archive, members[name], path))
                    return _folder(Path(folder), path.name)
    return _weights(path), {}


def take_foreign(
    tensors: Mapping[str, Any], settings: Mapping[str, Any], file: str, base: Base
) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """Take the tensors of a known kind → the shape of our adapter, and tensors by our names.

    Args:
        tensors: what was read.
        settings: of `adapter_config.json`, empty where there is none.
        file: its name, for messages.
        base: that it is for.

    Raises:
        CheckpointError: they are not for this base, or do what an adapter here cannot.
    """
    kind = recognise(tensors)
    plain = {_plain_name(name): value for name, value in tensors.items()}
    left = ReleasedTensors(file, plain)
    take = _take_lora if kind == PEFT_LORA else _take_prompts
    spec, state = take(left, plain, settings, base.config)
    if kind == LITGPT_V2:
        delta, changes = take_litgpt_changes(left, base, opened=bool(state["gate"].any()))
        spec, state = replace(spec, delta=delta), state | changes
    left.check_empty()
    return spec, state


def open_question(kind: str, state: Mapping[str, Tensor], config: LlamaConfig) -> str:
    """Say what an adapter's file leaves open and may matter, "" for nothing.

    Args:
        kind: as `recognise` says it.
        state: our tensors of it.
        config: of its base; with one head of keys the rows are the same in every litgpt.
    """
    unsure = kind == LITGPT and config.kv_heads > 1 and bool(state["gate"].any())
    return OPEN_QUESTION if unsure else ""


def _folder(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        settings = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"'{name}' holds no readable {CONFIG}. Send the whole folder that PEFT saved."
        ) from error
    found = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    if not found or not isinstance(settings, dict):
        raise CheckpointError(
            f"'{name}' holds no {WEIGHTS[0]}. Send the whole folder that PEFT saved."
        )
    return _weights(found[0]), settings


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:  # it ends as a zip does, and its list is damaged
        raise CheckpointError(f"'{path.name}' is a damaged zip. Make it again.") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"'{path.name}' is a damaged zip. Make it again.") from error


def _weights(path: Path) -> dict[str, Any]:
    if path.suffix != ".safetensors":
        found = read_torch_zip(path, mapped=False)
        inner = found.get("model")
        return inner if isinstance(inner, dict) else found
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"'{path.name}' is damaged. Get the adapter again.") from error


def _plain_name(name: Any) -> str:
    """Leave out what a library puts before the layers, and PEFT's name of the adapter."""
    text = re.sub(r"^.*?(?=\b(layers|h)\.\d)", "", str(name))
    text = re.sub(r"^h\.", "layers.", text)
    return re.sub(r"\.default(?=\.weight$|$)", "", text)


def _take_prompts(
    tensors: ReleasedTensors,
    names: Collection[str],
    settings: Mapping[str, Any],
    config: LlamaConfig,
) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """Take prompts and gates of the last layers."""
    litgpt = any(name.endswith(".attn.gating_factor") for name in names)
    prompt, gate = (
        ("layers.{}.attn.adapter_wte.weight", "layers.{}.attn.gating_factor")
        if litgpt
        else ("layers.{}.self_attn.adaption_prompt", "layers.{}.self_attn.adaption_gate")
    )
    layers = [n for n in range(config.layers) if tensors.has(prompt.format(n))]
    if not layers or layers != list(range(layers[0], config.layers)):
        raise CheckpointError(
            f"'{tensors.file}' has prompts in the layers {layers}, where a base of {config.layers} "
            "layers has them in its last ones. Start with the LLaMA that it was made for."
        )
    count = tensors.shape(prompt.format(layers[0]))[-2:][0]
    width, heads = config.width, config.heads
    rows = [tensors.take(prompt.format(n), (count, width), (1, count, width)) for n in layers]
    gates = [
        tensors.take(gate.format(n), (1,), (1, 1, heads, 1), (1, heads, 1, 1)).flatten()
        for n in layers
    ]
    spec = AdapterSpec(len(layers), count, width, heads, gate="raw")
    return spec, {
        "prompts": torch.stack([row.reshape(count, width) for row in rows]),
        "gate": torch.stack([one.expand(heads) for one in gates]).clone(),
    }


def _take_lora(
    tensors: ReleasedTensors,
    names: Collection[str],
    settings: Mapping[str, Any],
    config: LlamaConfig,
) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """Take the two factors of each product that has them; of the others they are zeros."""
    _check_lora(tensors.file, settings)
    ranks = [tensors.shape(name)[:1] for name in names if name.endswith(".lora_A.weight")]
    rank = max((found[0] for found in ranks if found), default=0)
    if not 1 <= rank <= MAX_RANK:
        raise CheckpointError(
            f"'{tensors.file}' is a LoRA of rank {rank}; 1 to {MAX_RANK} is possible here."
        )
    delta = DeltaSpec.for_base(config, rank=rank)
    rows, columns = delta.rows(config.width), delta.columns(config.width)
    state = {
        "prompts": torch.zeros(0, 0, config.width),
        "gate": torch.zeros(0, config.heads),
    }
    for name, matrices in PARTS.items():
        size = columns[name]
        down = torch.zeros(config.layers, len(matrices), rank, size)
        up = torch.zeros(config.layers, sum(rows[name]), rank)
        for layer in range(config.layers):
            start = 0
            for part, (matrix, count) in enumerate(zip(matrices, rows[name], strict=True)):
                at = f"layers.{layer}.{matrix}"
                if tensors.has(f"{at}.lora_A.weight"):
                    low = tensors.take(f"{at}.lora_A.weight", (None, size))
                    high = tensors.take(f"{at}.lora_B.weight", (count, len(low)))
                    down[layer, part, : len(low)] = low
                    factor = _factor(tensors.file, settings, f"model.{at}", len(low))
                    up[layer, start : start + count, : len(low)] = high * factor
                start += count
        state |= {f"changes.{name}.down": down, f"changes.{name}.up": up}
    return AdapterSpec(0, 0, config.width, config.heads, delta=delta), state


def _check_lora(file: str, settings: Mapping[str, Any]) -> None:
    if "lora_alpha" not in settings:
        raise CheckpointError(
            f"'{file}' is a LoRA without its {CONFIG}, which says how much it counts. Send a zip "
            "of the whole folder that PEFT saved."
        )
    begun = str(settings.get("init_lora_weights", "")).lower()
    other = next((name for name in OTHER_LORA if settings.get(name)), "")
    if other or begun.startswith(OWN_BASE):
        raise CheckpointError(
            f"'{file}' is a LoRA with {other or begun}, which is not known here. Plain LoRA is: "
            "let PEFT convert it to that, or teach it anew."
        )


def _factor(file: str, settings: Mapping[str, Any], module: str, rank: int) -> float:
    """Return what a LoRA's product is multiplied by: alpha / r, or alpha / √r if it says so."""
    alpha = settings["lora_alpha"]
    for pattern, own in (settings.get("alpha_pattern") or {}).items():
        text = str(pattern).lstrip("^").rstrip("$").replace("\\.", ".")
        # Patterns of strangers are compared, never run.
        if not re.fullmatch(r"[\w.]+", text):
            raise CheckpointError(
                f"'{file}' names modules by the pattern '{text:.40}', which is not known here. "
                "Name them in full."
            )
        if module == text or module.endswith(f".{text}"):
            alpha = own
            break
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise CheckpointError(f"'{file}' says '{alpha!r:.40}' for lora_alpha, which is no number.")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
