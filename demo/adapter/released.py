"""Adapters that the authors of LLaMA-Adapter released, read into our own file.

    python -m demo.adapter.released FILE.pth --llama LLAMA --out NAME

puts an adapter NAME for the base LLAMA among the others. A file is recognised by the tensors in it,
never by its name. Of the first version (arXiv 2303.16199) there are, for text, Alpaca's, the first
release with one gate a layer, and Gorilla's; and the one that captions pictures, whose vision tower
`--clip` names. Of the second (arXiv 2304.15010) BIAS, LORA-BIAS and CAPTION, which see, and the
chat model, which has no prompts; and of ImageBind-LLM the language part. Of N layers the last L
have K prompts each:

    adapter_query.weight (L * K, D), layers.N.attention.gate (1, H, 1, 1) or (1,)
    cap_adapter_query.weight and layers.N.attention.cap_gate for captions

and the rest is in `released_visual.py` and `released_changes.py`. Folders and files of PEFT and
litgpt are read too: see `foreign.py`.

A gate was trained through tanh, and the authors' inference for text multiplies by it as it is. What
a file was made for is not in it: gates by heads go through tanh unless told otherwise (Gorilla's do
not), one gate a layer never does.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import GATE_FORMS, AdapterSpec, ChannelOrder, GateForm, VisualSpec
from demo.adapter.foreign import open_question, read_foreign, take_foreign
from demo.adapter.foreign import recognise as foreign_kind
from demo.adapter.passport import Origin, Passport
from demo.adapter.released_changes import take_changes, take_gate_factors
from demo.adapter.released_tensors import ReleasedTensors, take_prompts
from demo.adapter.released_visual import take_bridge, take_query_transformer
from demo.errors import CheckpointError, DemoError, InputError
from demo.llama.base import Base, open_base
from demo.llama.config import LlamaConfig
from demo.llama.tokenizer.chat_template import PromptForm
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import Tower

MAX_BYTES = 3 * 2**30  # of ImageBind-LLM's, whose bridge has 608 million numbers
PROMPTS = 10  # of a layer in every released adapter for text
V1_TEXT, V1_CAPTION = "LLaMA-Adapter V1, text", "LLaMA-Adapter V1, caption"
V2_BIAS, V2_LORA = "LLaMA-Adapter V2, BIAS", "LLaMA-Adapter V2, LORA-BIAS"
V2_CAPTION, V2_CHAT = "LLaMA-Adapter V2, CAPTION", "LLaMA-Adapter V2, chat"
IMAGEBIND = "ImageBind-LLM"
QUERY = "adapter_query.weight"
QUERIES = {V1_CAPTION: "cap_adapter_query.weight", IMAGEBIND: "prefix_query.weight"}
FORMS = {V1_CAPTION: PromptForm("bare"), V2_CHAT: PromptForm("v2-chat")}  # Alpaca's else
QUERY_TRANSFORMERS = (V1_CAPTION, V2_BIAS, V2_LORA, V2_CAPTION)
# ImageBind is no tower of this program: its adapters answer texts here.
OTHER_TOWER = {"tower": "ImageBind-Huge", "tower_fingerprint": "imagebind_huge"}
SAMPLING = {"temperature": 0.1, "top_p": 0.75, "max_new_tokens": 512}
SAMPLINGS = dict.fromkeys(
    (V2_BIAS, V2_LORA, V2_CAPTION, IMAGEBIND), SAMPLING | {"max_new_tokens": 256}
) | {V2_CHAT: {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 512}}
# What the authors published, by its sha256, which stands in their addresses.
PUBLISHED = {
    "7fa55208379faf2dd862565284101b0e4a2a72114d6490a95e432cf9d9b6c813": "BIAS-7B",
    "1bcbffc43484332672092e0024a8699a6eb5f558161aebf98a7c6b1db67224d1": "LORA-BIAS-7B",
    "5088aeb63a89746b90bcfd5cb819e1c7411b2771b267c6d131ce73e250a8abf0": "CAPTION-7B",
    "d26d107eec32127ac86ef1997cf7169de1c56a59c539fc1258c6798b969e289c": "LORA-BIAS-7B-v21",
}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
TAKEN = ("auto", "none")  # the chat's own words


def recognise(names: Collection[str]) -> str:
    """Say in words what kind of release has tensors of these names, "" for none that is known."""

    def any_ends(*ends: str) -> bool:
        return any(isinstance(name, str) and name.endswith(ends) for name in names)

    telling = {
        V1_CAPTION: QUERIES[V1_CAPTION] in names,
        IMAGEBIND: QUERIES[IMAGEBIND] in names,
        V2_CHAT: any_ends(".attention.wq_scale"),
        V2_LORA: any_ends(".attention.lora_wq_l1.weight"),
        V2_BIAS: any_ends(".attention.wq.bias"),
        V2_CAPTION: "visual_query.weight" in names,
        V1_TEXT: QUERY in names,
    }
    return next((kind for kind, told in telling.items() if told), "")


def read_released(
    path: Path,
    base: Base,
    name: str,
    *,
    gate: GateForm | None = None,
    prompts: int = PROMPTS,
    tower: Tower | None = None,
) -> tuple[Adapter, Passport]:
    """Read a released file as an adapter of ours, fp32 and not trainable, and its passport.

    Args:
        path: of the .pth file.
        base: whose shape it must have. That it is the very LLaMA nobody can tell from the file.
        name: of the adapter.
        gate: "tanh" or "raw", None for what its kind of file is most likely made for.
        prompts: K, which is not in a file for text.
        tower: that a file for pictures was taught with.

    Raises:
        CheckpointError: it cannot be read, is of a kind that is not read, or is not for this base
            or tower; the message names the first tensor that is amiss.
        OSError: there is no such file.
    """
    found, settings = plain_tensors(path)
    digest = ""
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return convert(
        found, (path.name, digest), base, name,
        gate=gate, prompts=prompts, tower=tower, settings=settings,
    )  # fmt: skip


def plain_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file's tensors by their names, running nothing of it, and a folder's settings.

    Raises:
        CheckpointError: it is too large, or not a plain file of tensors.
        OSError: there is no such file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(
            f"'{path.name}' is larger than {MAX_BYTES / 2**30:.0f} GB; no released adapter is. "
            "Choose an adapter file, not a model."
        )
    return read_foreign(path)


def convert(
    found: dict[str, Any],
    file: tuple[str, str],
    base: Base,
    name: str,
    *,
    gate: GateForm | None = None,
    prompts: int = PROMPTS,
    tower: Tower | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Adapter, Passport]:
    """Make an adapter of ours, and its passport, of a released file's tensors.

    Args:
        found: the tensors by their names.
        file: its name and its sha256.
        base: as in `read_released`, and likewise what follows.
        name: of the adapter.
        gate: "tanh", "raw" or None.
        prompts: K.
        tower: that a file for pictures was taught with.
        settings: of PEFT's folder.

    Raises:
        CheckpointError: as `read_released`.
    """
    file_name, digest = file
    if foreign := foreign_kind(found):
        spec, state = take_foreign(found, settings or {}, file_name, base)
        note = open_question(foreign, state, base.config)
        origin = Origin(file_name, digest, foreign, None, {}, note)
        return _made(spec, state, name, base, origin)
    kind = recognise(found)
    if not kind:
        raise CheckpointError(
            f"'{file_name}' is no adapter that the authors released: no tensor has a telling name. "
            "LLaMA-Adapter V1, V2 and ImageBind-LLM are read, and adapters of PEFT and litgpt."
        )
    tensors = ReleasedTensors(file_name, found)
    before = next((start for start in ("llama.", "llma.") if _any_starts(found, start)), "")
    visual, sight, state = _take_visual(tensors, kind, base, tower)
    if visual:
        prompts = visual.slots
    form, parts = _take_gated_prompts(tensors, kind, base.config, before, prompts, gate)
    delta, changes = take_changes(tensors, base, before, scaled=kind == V2_CHAT)
    tensors.check_empty()
    layers, count, width = parts["prompts"].shape
    spec = AdapterSpec(layers, count, width, base.config.heads, visual, form, delta)
    known = f", {PUBLISHED[digest]}" if digest in PUBLISHED else ""
    prompt, sampling = FORMS.get(kind, PromptForm("alpaca")), SAMPLINGS.get(kind, SAMPLING)
    origin = Origin(file_name, digest, kind + known, prompt, sampling)
    return _made(spec, state | parts | changes, name, base, origin, sight)


def _made(
    spec: AdapterSpec,
    state: dict[str, Tensor],
    name: str,
    base: Base,
    origin: Origin,
    sight: Mapping[str, Any] | None = None,
) -> tuple[Adapter, Passport]:
    """Make the adapter of its tensors, and the passport that says where it is from."""
    with torch.device("meta"):
        adapter = Adapter(spec)
    adapter.load_state_dict(state, strict=True, assign=True)
    text = f"Read from {origin.file}"
    passport = Passport(
        name, text, base.name, base.fingerprint, spec, origin=origin, **(sight or {})
    )
    return adapter.requires_grad_(False), passport


def _any_starts(names: Collection[Any], start: str) -> bool:
    return any(isinstance(name, str) and name.startswith(start) for name in names)


def _take_visual(
    tensors: ReleasedTensors, kind: str, base: Base, tower: Tower | None
) -> tuple[VisualSpec | None, dict[str, Any], dict[str, Tensor]]:
    """Take the projection of pictures, what the passport says of the tower, and our tensors."""
    if kind == IMAGEBIND:
        spec, state = take_bridge(tensors, base.config.width)
        return spec, dict(OTHER_TOWER), state
    if kind not in QUERY_TRANSFORMERS:
        return None, {}, {}
    if tower is None or tower.token_size is None or not tower.class_token:
        raise CheckpointError(
            f"'{tensors.file}' is {kind}: it sees through all tokens of a vision transformer. "
            "Name that with --clip; the authors' was ViT-L-14:openai."
        )
    channels: ChannelOrder = "RGB" if kind == V1_CAPTION else "BGR"
    spec, state = take_query_transformer(tensors, tower.token_size, base.config.width, channels)
    seen = vars(tower.preprocessing) | {"channels": channels}
    sight = {"tower": tower.name, "tower_fingerprint": tower.fingerprint, "preprocessing": seen}
    return spec, sight, state


def _take_gated_prompts(
    tensors: ReleasedTensors,
    kind: str,
    config: LlamaConfig,
    before: str,
    prompts: int,
    gate: GateForm | None,
) -> tuple[GateForm, dict[str, Tensor]]:
    """Take gates and prompts, of which a chat model may have none → the gate's form, and both."""
    query = QUERIES.get(kind, QUERY)
    if kind == V2_CHAT and not tensors.has(query):
        none = torch.zeros(0, 0, config.width)
        return "tanh", {"prompts": none, "gate": torch.zeros(0, config.heads)}
    name = f"{before}layers.{{}}.attention.{'cap_gate' if kind == V1_CAPTION else 'gate'}"
    gates, rows = take_prompts(tensors, config, query, name, prompts)
    form: GateForm = gate or ("raw" if gates.shape[1] == 1 < config.heads else "tanh")
    factors = take_gate_factors(tensors, config, before)
    if factors is not None:  # one more number a layer, which multiplies what goes through
        gates = (gates.tanh() if form == "tanh" else gates) * factors[-len(gates) :]
        form = "raw"
    return form, {"prompts": rows, "gate": gates.expand(-1, config.heads).clone()}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(prog="python -m demo.adapter.released", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="a released .pth file, or PEFT's folder or zip"
    )
    parser.add_argument("--out", required=True, metavar="NAME", help="of the adapter")
    parser.add_argument("--llama", help="the LLaMA it was made for, as in app.py")
    parser.add_argument("--clip", help="the vision tower it was made for, as in app.py")
    parser.add_argument("--gate", choices=GATE_FORMS, help="raw for Gorilla's; else by the file")
    parser.add_argument("--prompts", type=int, default=PROMPTS, metavar="K", help="of a layer")
    parser.add_argument("--adapters", type=Path, default=Settings.adapters, metavar="FOLDER")
    parser.add_argument("--cache", type=Path, default=Settings().cache, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Do what the command line asks for and return the exit code."""
    args = parse(arguments)
    path = args.adapters / f"{args.out}.safetensors"
    try:
        if not NAME.fullmatch(args.out) or args.out in TAKEN or len(args.out) > 40:
            raise InputError("Please name it in small letters, digits and single hyphens.")
        if path.exists():
            raise InputError(f"There is an adapter '{args.out}' already. Choose another --out.")
        if not args.file.exists():
            raise InputError(f"There is no file '{args.file.name}'.")
        if args.prompts < 1:
            raise InputError("A layer has at least one prompt; please correct --prompts.")
        base = open_base(args.llama, args.cache, lambda message, share: None)
        tower = Tower.load(args.clip, torch.device("cpu"), CHECKPOINTS) if args.clip else None
        adapter, passport = read_released(
            args.file, base, args.out, gate=args.gate, prompts=args.prompts, tower=tower
        )
        save_adapter(adapter, passport, path)
    except (DemoError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{args.out}: {_told(passport)}")
    return 0


def _told(passport: Passport) -> str:
    """Say in a line what was read."""
    spec, origin = passport.spec, passport.origin
    assert origin is not None
    gates = "through tanh" if spec.gate == "tanh" else "as they are"
    parts = (
        [f"{spec.layers} layers of {spec.prompts} prompts, gates {gates}"] if spec.layers else []
    )
    if spec.delta:
        delta = spec.delta
        scale = f"scales {delta.scale} products" if delta.scale else ""
        rank = f"LoRA of rank {delta.rank}" if delta.rank else ""
        named = ("biases" if delta.bias else "", scale, "norms" if delta.norms else "", rank)
        parts.append(", ".join(filter(None, named)))
    how = ", ".join(f"{name} {value:g}" for name, value in origin.sampling.items())
    told = f" Its authors sampled at {how}." if how else ""
    told += f" {origin.note}" if origin.note else ""
    return f"{origin.kind}, for {passport.base}: {'; '.join(parts)}.{told}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
