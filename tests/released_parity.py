"""Released adapters beside what their authors' code computes from them.

    python -m tests.released_parity FOLDER

FOLDER holds a LLaMA as Meta lays it out, adapters `NAME_adapter.pth`, and beside each one or more
`NAME*.npz` of what its authors' code made of it: `tokens` (B, T), of which the first `prefill` go
in at once, and `step_logits` (1 + T - prefill, B, V); or `examples` (B, T) and `logits` (B, T, V)
of the training code, whose gates go through tanh; `images` or an `image_embedding`, and greedy ids.
Everything goes through the
shipped reader and the shipped decoders. Printed is the largest difference of logits of each way:

    torch    prefill and steps, fp32 products                     at most 1e-4
    steps    all tokens one by one through the compiled kernels   at most 1e-4
    exact    the same with prompts through the kernels of steps    at most 1e-4
    kernels  prefill and steps through the compiled kernels       at most 3e-3: a prompt's numbers
             are rounded to 16 bits there, the plain base's too (printed beside it)

The exit code is 0 when every file is read and every line is within its bar.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import GateForm
from demo.adapter.passport import Passport
from demo.adapter.released import read_released
from demo.errors import CheckpointError
from demo.llama.base import Base, open_base
from demo.llama.decoder import Decoder, SlotSizes, TokenDecoder, TorchDecoder
from demo.llama.delta import Delta
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama, Prefix
from demo.llama.tokenizer.chat_template import Message
from demo.vision.clip import Tower
from demo.vision.clip_loading import Preprocessing, TowerParts

EXACT, PREFILL = 1e-4, 3e-3
CAPTION, PAINTING = "Generate caption of this image :", "Please introduce this painting."
ANSWERED = "What is a llama?"
POSITIONS = 1536
# Of the authors' gradients, which of ours they are.
LAYER_BIAS = re.compile(r"llama\.layers\.(\d+)\.attention\.wq\.bias")
INSTRUCTION = re.compile(r"### Instruction:\n(.*)\n\n### Response:", re.DOTALL)


class Check(NamedTuple):
    """One thing that was compared: how far it is off, and how far it may be."""

    what: str
    off: float
    bar: float


class Pair(NamedTuple):
    """The ways to decode on one base."""

    base: Base
    torch: TorchDecoder
    kernels: Decoder
    exact: Decoder


class Given(NamedTuple):
    """What an adapter adds to a base."""

    prefix: Prefix | None = None
    delta: Delta | None = None


def given_by(adapter: Adapter, model: Llama, seen: torch.Tensor | None = None) -> Given:
    """Compute both for a picture's features (1, ...), or without one."""
    return Given(adapter.fixed_prefix(model, seen), adapter.fixed_delta(model))


def open_pair(folder: Path, cache: Path) -> Pair:
    """Open the LLaMA below a folder, in fp32 products."""
    home = next(folder.rglob("params.json")).parent
    base = open_base(str(home), cache, lambda message, share: None)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), POSITIONS)
    sizes = SlotSizes(1, POSITIONS, 10, kv_bits=32)
    kernels = (Decoder(model, sizes, 1, exact=exact) for exact in (False, True))
    return Pair(base, TorchDecoder(model, sizes), *kernels)


def run(decoder: TokenDecoder, ids: list[int], first: int, given: Given) -> np.ndarray:
    """Run a text, its first tokens at once and the others one by one → logits (1 + T - first, V).

    Where a `Decoder` is to put in none at once, it steps from the first token on.
    """
    found = []
    if first:
        found.append(decoder.prefill(0, ids[:first], given.prefix, delta=given.delta).copy())
    else:
        assert isinstance(decoder, Decoder)
        decoder.set_prefix(0, given.prefix)
        decoder.set_delta(0, given.delta)
    for place in range(first, len(ids)):
        columns = (np.array([number], np.int64) for number in (ids[place], 0, place))
        found.append(decoder.step(*columns)[0].copy())
    return np.stack(found)


def greedy(
    decoder: TokenDecoder, ids: list[int], count: int, given: Given, stop: frozenset[int]
) -> list[int]:
    """Continue a prompt by the likeliest tokens, at most `count`, without the one that ends it."""
    logits, written = decoder.prefill(0, ids, given.prefix, delta=given.delta), list(ids)
    while len(written) < len(ids) + count and int(logits.argmax()) not in stop:
        written.append(int(logits.argmax()))
        columns = (np.array([n], np.int64) for n in (written[-1], 0, len(written) - 1))
        logits = decoder.step(*columns)[0]
    return written


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """Give the largest difference of logits."""
    return float(np.abs(found - expected).max())


def inference(
    pair: Pair, given: Sequence[Given], facts: Mapping[str, np.ndarray]
) -> Iterator[Check]:
    """Compare the logits of the authors' inference, each text with its adapter's values."""
    first = int(facts["prefill"])
    gaps = np.zeros((5, len(facts["tokens"])))
    for row, (tokens, values) in enumerate(zip(facts["tokens"].tolist(), given, strict=True)):
        expected = facts["step_logits"][:, row]
        tokens = tokens[: first - 1 + len(expected)]
        plain = run(pair.torch, tokens, first, Given())
        gaps[:, row] = (
            off(run(pair.torch, tokens, first, values), expected),
            off(run(pair.kernels, tokens, 0, values)[first - 1 :], expected),
            off(run(pair.exact, tokens, first, values), expected),
            off(run(pair.kernels, tokens, first, values), expected),
            off(run(pair.kernels, tokens, first, Given()), plain),
        )
    worst = gaps.max(1)
    yield Check("torch", worst[0], EXACT)
    yield Check("steps", worst[1], EXACT)
    yield Check("exact", worst[2], EXACT)
    yield Check(f"kernels (plain base {worst[4]:.1e})", worst[3], PREFILL)


def gradients(
    pair: Pair,
    adapter: Adapter,
    features: torch.Tensor | None,
    ids: torch.Tensor,
    facts: Mapping[str, np.ndarray],
) -> Iterator[Check]:
    """Compare the loss and the gradients of the authors' training; logits first, where given."""
    model = pair.torch.model
    adapter.requires_grad_(True)
    prefix, delta = adapter.prefix(model, features), adapter.delta(model)
    logits = model.logits(model.forward(ids, prefix=prefix, delta=delta))  # (B, T, V)
    if "logits" in facts:
        yield Check("torch", off(logits.detach().numpy(), facts["logits"]), EXACT)
    labels = torch.from_numpy(facts["labels"])[:, 1:]
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=0
    )
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
    yield Check("loss", abs(loss.item() - float(facts["loss"])), EXACT)
    for name in sorted(facts):
        if not name.startswith("grad_"):
            continue
        found, expected = gradient_of(adapter, name.removeprefix("grad_")), facts[name]
        gap = off(found.numpy().reshape(expected.shape), expected) / np.abs(expected).max()
        yield Check(f"gradient of {name[5:]}, of its largest", float(gap), EXACT)
    adapter.requires_grad_(False)


def gradient_of(adapter: Adapter, name: str) -> torch.Tensor:
    """Find the gradient of a tensor by its authors' name, in their order."""
    found: torch.Tensor | None
    if matched := LAYER_BIAS.fullmatch(name):
        assert adapter.changes and adapter.changes.qkv.bias is not None
        gradient = adapter.changes.qkv.bias.grad
        assert gradient is not None
        size, heads = adapter.spec.width, adapter.spec.heads
        halves = gradient[int(matched[1]), :size].unflatten(0, (heads, 2, -1))
        found = halves.transpose(1, 2).flatten()
    else:
        parts = dict(adapter.named_parameters())
        found = parts[
            {
                "adapter_query": "prompts",
                "adapter_query.weight": "prompts",
                "gate": "gate",
                "visual_query.weight": "visual.queries",
                "llama.norm.weight": "changes.output_norm",
            }[name]
        ].grad
    assert found is not None
    return found


def training(pair: Pair, adapter: Adapter, facts: Mapping[str, np.ndarray]) -> Iterator[Check]:
    """Compare the logits, the loss and the gradients of the authors' training."""
    model, ids = pair.torch.model, torch.from_numpy(facts["examples"])
    given = given_by(adapter, model)
    stepped = [run(pair.kernels, row, 0, given) for row in ids.tolist()]
    yield Check("steps", off(np.stack(stepped), facts["logits"]), EXACT)
    yield from gradients(pair, adapter, None, ids, facts)


def texts(
    pair: Pair, adapter: Adapter, passport: Passport, facts: Mapping[str, np.ndarray], said: Path
) -> Iterator[Check]:
    """Compare the ids of prompts and of what follows them greedily; off is how many differ."""
    assert passport.origin
    tokenizer, given = pair.base.tokenizer, given_by(adapter, pair.torch.model)
    spoken = json.loads(said.read_text("utf-8"))
    instruction = INSTRUCTION.search(spoken["prompt"])
    assert instruction
    ids = tokenizer.chat([Message("user", instruction[1])], form=passport.origin.prompt)
    yield Check("prompt ids", _differ(ids, facts["prompt_ids"].tolist()), 0)
    bos = ids[0]
    prompts = [ids, [bos, *tokenizer.encode_text(spoken["second_prompt"])]]
    for name, prompt in zip(("generated_1", "generated_2"), prompts, strict=True):
        expected = facts[name].tolist()
        for kind, decoder in (("torch", pair.torch), ("kernels", pair.kernels)):
            count = len(expected) - len(prompt)
            found = greedy(decoder, prompt, count, given, tokenizer.stop_ids)
            yield Check(f"{name}, {kind}", _differ(found, expected), 0)


def open_tower(path: Path, pixels: int) -> Tower:
    """Open the image half of an OpenAI CLIP, with two heads where it is as small as a test's."""
    from open_clip.transformer import QuickGELU, VisionTransformer

    state = {
        name.removeprefix("visual."): value.float()
        for name, value in torch.load(path, weights_only=True).items()
    }
    width, _, patch, _ = state["conv1.weight"].shape
    visual = VisionTransformer(
        image_size=pixels,
        patch_size=patch,
        width=width,
        layers=sum(name.endswith(".ln_1.weight") for name in state),
        heads=max(2, width // 64),
        mlp_ratio=4.0,
        output_dim=state["proj"].shape[1],
        act_layer=QuickGELU,
    )
    visual.load_state_dict(state)
    half = (0.5, 0.5, 0.5)  # the pictures are normalised already
    parts = TowerParts("tiny", visual, Preprocessing((pixels, pixels), half, half), True)
    return Tower(parts, torch.device("cpu"))


def pictures(
    pair: Pair, tower: Tower, adapter: Adapter, passport: Passport, facts: Mapping[str, np.ndarray]
) -> Iterator[Check]:
    """Compare what an adapter makes of pictures, from the tower to the words."""
    assert passport.origin and adapter.visual
    with torch.no_grad():
        seen = tower.token_batch(torch.from_numpy(facts["images"]))  # (B, T, E)
        visual = adapter.visual(seen).numpy()
    yield Check("tokens of the tower", off(seen.numpy(), facts["clip_tokens"]), EXACT)
    yield Check("vectors of the projection", off(visual, facts["visual_tokens"]), EXACT)
    given = [given_by(adapter, pair.torch.model, one[None]) for one in seen]
    yield from inference(pair, given, facts)
    if "labels" in facts:
        yield from gradients(pair, adapter, seen, torch.from_numpy(facts["tokens"]), facts)
    captions = "caption_prompt_ids" in facts
    expected = [facts[f"generated_{row}"] for row in range(2)] if captions else [facts["generated"]]
    name, words = ("caption_prompt_ids", CAPTION) if captions else ("prompt_ids", PAINTING)
    yield from answers(pair, passport, given, words, facts[name], expected)


def answers(
    pair: Pair,
    passport: Passport,
    given: Sequence[Given],
    words: str,
    prompt: np.ndarray,
    expected: Sequence[np.ndarray],
) -> Iterator[Check]:
    """Compare a prompt's ids, and what follows it greedily with each adapter's values."""
    assert passport.origin
    tokenizer = pair.base.tokenizer
    ids = tokenizer.chat([Message("user", words)], form=passport.origin.prompt)
    yield Check("prompt ids", _differ(ids, prompt.tolist()), 0)
    for row, (values, wanted) in enumerate(zip(given, expected, strict=False)):
        for kind, decoder in (("torch", pair.torch), ("kernels", pair.kernels)):
            found = greedy(decoder, ids, len(wanted), values, tokenizer.stop_ids)[len(ids) :]
            yield Check(f"generated_{row}, {kind}", _differ(found, wanted.tolist()), 0)


def embeddings(pair: Pair, adapter: Adapter, facts: Mapping[str, np.ndarray]) -> Iterator[Check]:
    """Compare what ImageBind-LLM's language part makes of given embeddings."""
    assert adapter.visual
    image, audio = (
        torch.nn.functional.normalize(torch.from_numpy(facts[f"{kind}_embedding"]), dim=-1)
        for kind in ("image", "audio")
    )  # (B, S)
    both = (image + 0.5 * audio) / (1.5 + 1e-6)
    for name, seen in (("visual_of_image", image), ("visual_of_image_1_audio_half", both)):
        with torch.no_grad():
            visual = adapter.visual(seen).numpy()
        gap = off(visual, facts[name].reshape(visual.shape))
        yield Check(f"vectors of the bridge, {name[10:]}", gap, EXACT)
    given = [given_by(adapter, pair.torch.model, one[None]) for one in both]
    yield from inference(pair, given, facts)


def _differ(found: list[int], expected: list[int]) -> int:
    both = zip(found, expected, strict=False)  # the rest of the longer one is counted below
    wrong = sum(a != b for a, b in both)
    return wrong + abs(len(found) - len(expected))


def checks(pair: Pair, adapter_file: Path, facts_file: Path) -> Iterator[Check]:
    """Compare one adapter with one file of what its authors' code made of it."""
    with np.load(facts_file, allow_pickle=False) as archive:
        facts = dict(archive)
    texts_only = not {"images", "image_embedding", "examples"} & set(facts)
    gate: GateForm | None = None
    if texts_only and not facts_file.stem.startswith("v2_chat"):
        gate = "raw"  # the root's inference
    tower = None
    if "images" in facts:
        pixels = facts["images"].shape[-1]
        tower = open_tower(adapter_file.with_name("tiny_clip_visual.pth"), pixels)
    adapter, passport = read_released(adapter_file, pair.base, "released", gate=gate, tower=tower)
    if tower:
        yield from pictures(pair, tower, adapter, passport, facts)
    elif "image_embedding" in facts:
        yield from embeddings(pair, adapter, facts)
    elif "examples" in facts:
        yield from training(pair, adapter, facts)
    else:
        given = given_by(adapter, pair.torch.model)
        yield from inference(pair, [given] * len(facts["tokens"]), facts)
        if "generated" in facts:
            prompt, wanted = facts["prompt_ids"], [facts["generated"]]
            yield from answers(pair, passport, [given], ANSWERED, prompt, wanted)
        elif "prompt_ids" in facts:
            said = adapter_file.with_name(adapter_file.name.removesuffix("_adapter.pth") + ".json")
            yield from texts(pair, adapter, passport, facts, said)


def cases(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give each file of facts with the adapter that it is about, whose name it begins with."""
    adapters = {p.name.removesuffix("_adapter.pth"): p for p in folder.glob("*_adapter.pth")}
    for facts in sorted(folder.glob("*.npz")):
        names = [name for name in adapters if facts.stem.startswith(name)]
        if names:
            yield adapters[max(names, key=len)], facts


def main(folder: Path) -> int:
    """Print every comparison and return the exit code."""
    good = True
    with tempfile.TemporaryDirectory() as cache:
        pair = open_pair(folder, Path(cache))
        for adapter, facts in cases(folder):
            print(facts.stem)
            try:
                for check in checks(pair, adapter, facts):
                    held = check.off <= check.bar
                    good = good and held
                    word = "" if held else f"   MORE THAN {check.bar:.0e}"
                    print(f"    {check.what:44} {check.off:.1e}{word}")
            except CheckpointError as error:
                good = False
                print(f"    not read: {error}")
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
