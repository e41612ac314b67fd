"""PEFT's LoRA of rank 8 as a learner: on all seven matrices of a layer, in fp32.

It is given as many seconds as ours took; how many steps these are is found by its first ones, and
the rate falls to nothing over them. Everything else is what people take: alpha twice the rank, no
dropout, AdamW at 1e-3, the best of what was tried here for fifteen rows (`docs/teaching.md`).
"""

import math
import tempfile
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.bench.peers.transformers import HF_NAMES, from_base, padded
from demo.bench.taught.lesson import ordinary_text
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.train.state import Order
from demo.llama.base import Base
from demo.llama.tokenizer.chat_template import Message

RANK, RATE, BATCH = 8, 1e-3, 8
TRIED = 2  # steps by which their number is found
MATRICES = [name.split(".")[-1] for name in HF_NAMES.values() if name.endswith("_proj")]


class PeftLora:
    """A LoRA on transformers' LLaMA, with the weights that our base stands for.

    Args:
        base: whose weights and tokenizer it has.

    Attributes:
        steps: that it was taught.
    """

    def __init__(self, base: Base) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        self.tokenizer, self.steps = base.tokenizer, 0
        with tempfile.TemporaryDirectory() as folder:
            from_base(base).save_pretrained(folder)
            plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        config = LoraConfig(
            r=RANK, lora_alpha=2 * RANK, target_modules=MATRICES, task_type="CAUSAL_LM"
        )
        self._model = get_peft_model(plain, config)

    def learn(self, examples: Sequence[Example], seconds: float, seed: int = 0) -> float:
        """Learn examples for about so many seconds; return how many it took."""
        learned = [p for p in self._model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=RATE, weight_decay=0.0)
        order = Order([len(e.ids) for e in examples], BATCH, seed)
        planned, spent = math.inf, 0.0
        self._model.train()
        while self.steps < planned:
            began = time.perf_counter()
            optimizer.param_groups[0]["lr"] = RATE * (1 - self.steps / planned)
            logits, labels = self._read([examples[place] for place in order.next()])
            optimizer.zero_grad()
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            self.steps += 1
            spent += time.perf_counter() - began
            if self.steps >= TRIED:  # it knows the better how many there is time for
                planned = max(self.steps, round(seconds * self.steps / spent))
        self._model.eval()
        return spent

    @torch.inference_mode()
    def replies(
        self, questions: Sequence[str], longest: int, *, strength: float = 1.0
    ) -> list[str]:
        """Answer questions, each by itself, in so many tokens at most; at 0 as the base does."""
        stops, found = sorted(self.tokenizer.stop_ids), []
        for question in questions:
            ids = torch.tensor([list(self.tokenizer.chat([Message("user", question)]))])
            asked = {
                "input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False,
                "max_new_tokens": longest, "eos_token_id": stops, "pad_token_id": stops[0],
            }  # fmt: skip
            if strength:
                out = self._model.generate(**asked)
            else:
                with self._model.disable_adapter():
                    out = self._model.generate(**asked)
            said = out[0, ids.shape[1] :].tolist()
            found.append(self.tokenizer.decode(t for t in said if t not in stops))
        return found

    @torch.inference_mode()
    def right(self, examples: Sequence[Example]) -> list[bool]:
        """Tell of each example whether the reply would be the expected one to the letter."""
        found = []
        for start in range(0, len(examples), BATCH):
            logits, labels = self._read(examples[start : start + BATCH])
            found += ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(1).tolist()
        return found

    @torch.inference_mode()
    def rise(self) -> float:
        """Return by how much the perplexity of ordinary text rose, in percent."""
        ids = ordinary_text(self.tokenizer)
        text = [Example(tuple(ids[:-1]), tuple(ids[1:]))]
        on = self._loss(text)
        with self._model.disable_adapter():
            off = self._loss(text)
        return 100 * (math.exp(on - off) - 1)

    def _loss(self, examples: Sequence[Example]) -> float:
        logits, labels = self._read(examples)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()).item()

    def _read(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, V) and labels (B, T)."""
        ids = padded([e.ids for e in examples], 0)
        there = padded([[1] * len(e.ids) for e in examples], 0)
        labels = padded([e.labels for e in examples], IGNORED)
        return self._model(input_ids=ids, attention_mask=there).logits, labels
