"""transformers on bitsandbytes' 8-bit layers as a contestant, alone or with PEFT's adapter."""

import tempfile
import time

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from demo.bench.adapters import PROMPTS
from demo.bench.hf_model import from_base
from demo.llama.cache import Base
from demo.settings import Settings


class Transformers:
    """`generate`, greedy, and a training step, on the CPU; bf16 outside the 8-bit layers.

    Args:
        layers: of these many, the last ones, PEFT's AdaptionPrompt with gates open; 0 for none.
        int8: bitsandbytes' 8-bit layers, else all in bf16.
    """

    def __init__(self, base: Base, settings: Settings, *, layers: int, int8: bool) -> None:
        torch.set_num_threads(settings.threads)
        with tempfile.TemporaryDirectory() as folder:
            from_base(base).to(torch.bfloat16).save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.bfloat16,
                device_map="cpu",
                quantization_config=BitsAndBytesConfig(load_in_8bit=True) if int8 else None,
            )
        if layers:
            from peft import AdaptionPromptConfig, get_peft_model

            config = AdaptionPromptConfig(
                adapter_len=PROMPTS, adapter_layers=layers, task_type="CAUSAL_LM"
            )
            model = get_peft_model(model, config)
            for name, parameter in model.named_parameters():
                if name.endswith("adaption_gate"):
                    torch.nn.init.constant_(parameter, 0.05)
        self._model = model.eval()
        learned = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(learned, lr=5e-3) if layers else None

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Seconds for one step."""
        ids = torch.tensor(texts)
        labels = ids.clone()
        labels[:, :-reply] = -100
        start = time.perf_counter()
        loss = self._model(input_ids=ids, labels=labels).loss
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return time.perf_counter() - start

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Seconds for `count` tokens of each sequence, the prompt left out."""
        prompt = torch.tensor([ids] * batch)
        return self._generate(prompt, count + 1) - self._generate(prompt, 1)

    def prefill(self, ids: list[int]) -> float:
        """Seconds for one prompt."""
        return self._generate(torch.tensor([ids]), 1)

    def _generate(self, prompt: torch.Tensor, count: int) -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=2,
            )
        assert out.shape[1] == prompt.shape[1] + count
        return time.perf_counter() - start
