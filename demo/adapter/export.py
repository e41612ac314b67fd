"""Adapters of ours in the files of PEFT and litgpt, where those can hold what an adapter does.

    python -m demo.adapter.export NAME --form peft --out FOLDER

writes `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel.from_pretrained` reads
them, and `--form litgpt` a file as `lit_model.pth.adapter`. What each can hold:

    peft     prompts in the last layers with one gate a layer (AdaptionPrompt), or a LoRA alone
    litgpt   prompts in the last layers with a gate a head (its adapter, version 1)

The names of their tensors stand in `foreign.py`, which reads these files. Both multiply by the gate
as it is, so a gate that acts through tanh is written as what it lets through.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from demo.adapter.adapter import Adapter, load_adapter
from demo.adapter.foreign import CONFIG, PARTS, WEIGHTS
from demo.adapter.passport import Passport
from demo.atomic_file import replace_file
from demo.errors import DemoError, InputError
from demo.llama.base import open_base
from demo.settings import Settings

PEFT_LAYER = "base_model.model.model.layers"


def export_peft(adapter: Adapter, passport: Passport, base_layers: int, folder: Path) -> str:
    """Write a folder as PEFT saves one → the kind that it holds.

    Args:
        adapter: what is written.
        passport: of it.
        base_layers: N of its base.
        folder: made when it is missing; files of these names in it are replaced.

    Raises:
        InputError: PEFT has no kind that does what the adapter does; the message says what is
            too much.
        OSError: the folder cannot be written to.
    """
    spec = adapter.spec
    if spec.delta and not spec.layers:
        settings, tensors = _lora(adapter, passport)
    else:
        _check_prompts_alone(adapter, passport, "PEFT's AdaptionPrompt")
        settings, tensors = _adaption_prompt(adapter, passport, base_layers)
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / WEIGHTS[0]) as file:
        file.write_bytes(save(tensors, metadata={"format": "pt"}))
    with replace_file(folder / CONFIG) as file:
        file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    return str(settings["peft_type"])


def export_litgpt(adapter: Adapter, passport: Passport, base_layers: int, path: Path) -> str:
    """Write a checkpoint of litgpt's adapter, version 1 → the kind that it holds.

    Args:
        adapter: what is written.
        passport: of it.
        base_layers: N of its base.
        path: of the file, replaced when it is there.

    Raises:
        InputError: that kind cannot do what the adapter does; the message says what is too much.
        OSError: the file cannot be written.
    """
    _check_prompts_alone(adapter, passport, "litgpt's adapter")
    spec, opening = adapter.spec, adapter.opening()
    tensors = {}
    for place, layer in enumerate(range(base_layers - spec.layers, base_layers)):
        at = f"transformer.h.{layer}.attn"
        tensors[f"{at}.adapter_wte.weight"] = adapter.prompts[place].contiguous()  # (K, D)
        tensors[f"{at}.gating_factor"] = opening[place].reshape(1, 1, spec.heads, 1).contiguous()
    with replace_file(path) as file:
        torch.save({"model": tensors}, file)
    return "adapter"


FORMS: dict[str, Callable[[Adapter, Passport, int, Path], str]] = {
    "peft": export_peft,
    "litgpt": export_litgpt,
}


def _check_prompts_alone(adapter: Adapter, passport: Passport, form: str) -> None:
    spec = adapter.spec
    beside = {
        "looks at pictures": spec.visual is not None,
        "has prompts for each of its facts": spec.facts > 0,
        "changes biases, scales, norms or products of the base beside its prompts": bool(
            spec.delta
        ),
    }
    found = next((words for words, holds in beside.items() if holds), "")
    if found:
        raise InputError(
            f"'{passport.name}' {found}, which {form} cannot hold. Keep it as the file it is."
        )


def _adaption_prompt(
    adapter: Adapter, passport: Passport, base_layers: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    spec, opening = adapter.spec, adapter.opening()
    if not torch.equal(opening, opening[:, :1].expand_as(opening)):
        raise InputError(
            f"'{passport.name}' has a gate for each of {spec.heads} heads, and PEFT's "
            "AdaptionPrompt one for all of a layer. Write it for litgpt, whose adapter has as many."
        )
    tensors = {}
    for place, layer in enumerate(range(base_layers - spec.layers, base_layers)):
        at = f"{PEFT_LAYER}.{layer}.self_attn.adaption_"
        tensors[f"{at}prompt"] = adapter.prompts[place][None].contiguous()  # (1, K, D)
        tensors[f"{at}gate"] = opening[place, :1].contiguous()
    settings = {"adapter_len": spec.prompts, "adapter_layers": spec.layers}
    return _settings("ADAPTION_PROMPT", passport, settings), tensors


def _lora(adapter: Adapter, passport: Passport) -> tuple[dict[str, Any], dict[str, Tensor]]:
    spec = adapter.spec
    delta = spec.delta
    if delta is None or not delta.rank or delta.bias or delta.scale or delta.norms:
        raise InputError(
            f"'{passport.name}' changes biases, scales or norms, which PEFT's LoRA cannot hold. "
            "Keep it as the file it is."
        )
    state, tensors, rows = adapter.state_dict(), dict[str, Tensor](), delta.rows(spec.width)
    for product, matrices in PARTS.items():
        down, up = state[f"changes.{product}.down"], state[f"changes.{product}.up"]
        parts = up.split(rows[product], dim=1)  # of each matrix (N, O, r)
        for part, matrix in enumerate(matrices):
            for layer in range(delta.layers):
                at = f"{PEFT_LAYER}.{layer}.{matrix}"
                tensors[f"{at}.lora_A.weight"] = down[layer, part].contiguous()  # (r, I)
                tensors[f"{at}.lora_B.weight"] = parts[part][layer].contiguous()  # (O, r)
    # Alpha / r is 1: nothing else multiplies the product here.
    settings = {
        "r": delta.rank,
        "lora_alpha": delta.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name.split(".")[1] for names in PARTS.values() for name in names],
    }
    return _settings("LORA", passport, settings), tensors


def _settings(kind: str, passport: Passport, own: dict[str, Any]) -> dict[str, Any]:
    """Give `adapter_config.json`; PEFT fills in what is not said."""
    return {
        "peft_type": kind,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": passport.base,
        "inference_mode": True,
    } | own


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(prog="python -m demo.adapter.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", metavar="NAME", help="of the adapter")
    parser.add_argument("--form", required=True, choices=FORMS, help="whose file it becomes")
    parser.add_argument("--out", required=True, type=Path, help="PEFT's folder, or litgpt's file")
    parser.add_argument("--llama", help="the LLaMA it was made for, as in app.py")
    parser.add_argument("--adapters", type=Path, default=Settings.adapters, metavar="FOLDER")
    parser.add_argument("--cache", type=Path, default=Settings().cache, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Do what the command line asks for and return the exit code."""
    args = parse(arguments)
    try:
        path = args.adapters / f"{args.name}.safetensors"
        if not path.is_file():
            raise InputError(f"There is no adapter '{args.name}' in {args.adapters}.")
        adapter, passport = load_adapter(path)
        base = open_base(args.llama, args.cache, lambda message, share: None)
        adapter.spec.check_fits(base.config, base.name)
        kind = FORMS[args.form](adapter, passport, base.config.layers, args.out)
    except (DemoError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.out}: {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
