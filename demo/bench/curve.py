"""The loss of our trainer beside that of PEFT's AdaptionPrompt, step by step on the same texts.

Both begin with the same prompts and closed gates, read the same batches in the same order, and
learn with the same rates; PEFT in fp32, because in bf16 most of a step is lost on prompts that are
as large as 1. PEFT has one gate a layer, the paper one a head: ours is measured with both. Each
learns from two starting points: how far these are apart is what a curve may differ by.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.bench.adapters import PROMPTS
from demo.bench.contestant import quiet
from demo.bench.hf_model import from_base
from demo.bench.report import Bar, Report, Row
from demo.finetune.examples import IGNORED, Example, encode
from demo.finetune.lessons import Lesson
from demo.finetune.order import Order
from demo.finetune.samples import PIRATE, load_sample
from demo.finetune.train_settings import TrainSettings
from demo.finetune.trainer import train
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.models import choose_device, load_llama
from demo.settings import Settings

SEEDS = (0, 1)  # of the prompts to begin with
POINTS = 2  # means of so many equal parts of a curve are shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench curve`."""
    parser.add_argument("--steps", type=int, default=20)


def run(args: argparse.Namespace) -> Report:
    """The sample `pirate`, 16 rows a step, an adapter in all layers."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, quiet)
    rows = [row.cells for row in load_sample(PIRATE.name).rows]
    examples = [
        encode(base.tokenizer, [Lesson(row["prompt"], row["response"])])
        for row in rows
        if row["split"] == "train"
    ]
    recipe = TrainSettings(args.steps, batch=16)
    ours, tied, theirs = [], [], []
    for seed in SEEDS:
        torch.manual_seed(seed)
        spec = AdapterSpec.for_base(base.config, layers=base.config.layers, prompts=PROMPTS)
        adapter = Adapter(spec)
        start = adapter.prompts.detach().clone()
        ours.append(_ours(base, deepcopy(adapter), examples, recipe, settings))
        adapter.gate.register_hook(_tie)
        tied.append(_ours(base, adapter, examples, recipe, settings))
        theirs.append(list(islice(_theirs(base, start, examples, recipe), args.steps)))
    return Report("curve", *compared(ours, tied, theirs))


def compared(
    ours: Sequence[Sequence[float]],
    tied: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
) -> tuple[list[Row], list[Bar]]:
    """Parts of the curves side by side, and whether `tied` and `theirs`, one gate a layer, differ
    by more than two starts do.
    """
    size = max(1, len(ours[0]) // POINTS)
    names = "ours, a gate a head", "ours, a gate a layer", "PEFT's, a gate a layer"
    rows, between, apart = [], [], []
    for first in range(0, size * POINTS, size):
        part = slice(first, first + size)
        means = [[mean(curve[part]) for curve in curves] for curves in (ours, tied, theirs)]
        for name, values in zip(names, means, strict=True):
            where = f"steps {first + 1} to {first + size}"
            rows.append(Row(f"loss of {name}, {where}", "nats", tuple(values)))
        between.append(abs(mean(means[1]) - mean(means[2])))
        apart.append(max(max(values) - min(values) for values in means[1:]))
    first_loss = abs(tied[0][0] / theirs[0][0] - 1)
    bars = [
        Bar("first loss, ours and PEFT's apart, %", 100 * first_loss, most=1),
        Bar("curves apart / two starts apart", max(between) / max(apart), most=1),
    ]
    return rows, bars


def _tie(slope: Tensor) -> Tensor:
    """One gate for all heads of a layer: (L, H) all alike, and as long as the sum over heads."""
    return (slope.sum(1, keepdim=True) / slope.shape[1] ** 0.5).expand_as(slope)


def _ours(
    base: Base,
    adapter: Adapter,
    examples: Sequence[Example],
    recipe: TrainSettings,
    settings: Settings,
) -> list[float]:
    model = load_llama(base, choose_device("cpu"), settings.context)
    return [step.loss for step in train(model, adapter, examples, None, recipe)]


def _theirs(
    base: Base, start: Tensor, examples: Sequence[Example], recipe: TrainSettings
) -> Iterator[float]:
    """Losses of PEFT's adapter; the loop is ours, as its own would be another recipe."""
    model = _adapted(base, start)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        learned, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    order = Order([len(e.ids) for e in examples], recipe.batch, recipe.seed)
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate * recipe.scale(step)
        part = [examples[place] for place in order.next()]
        ids, labels = _padded([e.ids for e in part], 0), _padded([e.labels for e in part], IGNORED)
        there = _padded([[1] * len(e.ids) for e in part], 0)
        logits = model(input_ids=ids, attention_mask=there).logits  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, recipe.clip)
        optimizer.step()
        yield loss.item()


def _adapted(base: Base, start: Tensor) -> nn.Module:
    """transformers' LLaMA in fp32 with PEFT's adapter, its prompts (L, K, D) as `start`."""
    from peft import AdaptionPromptConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    layers, prompts, _ = start.shape
    with tempfile.TemporaryDirectory() as folder:
        from_base(base).save_pretrained(folder)
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = AdaptionPromptConfig(adapter_len=prompts, adapter_layers=layers, task_type="CAUSAL_LM")
    model = get_peft_model(plain, config)
    found = [p for name, p in model.named_parameters() if name.endswith("adaption_prompt")]
    with torch.no_grad():
        for parameter, own in zip(found, start, strict=True):
            parameter.copy_(own[None])
    return model


def _padded(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    """(B, T), each row's end filled up."""
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filling)
