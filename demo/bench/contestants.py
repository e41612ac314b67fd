"""Those who decode: ours, llama.cpp, transformers with bitsandbytes. Run by `bench/decode.py`.

python -m demo.bench.contestants NAME TOKENS
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.bench.worker import serve
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.chat_template import Message
from demo.llama.embedded import embedded_gguf
from demo.settings import Settings

QUESTION = "Write a long story about a lighthouse keeper and the sea."
Measure = Callable[[], dict[str, Any]]


def quiet(message: str, share: float | None) -> None:
    """Progress is not wanted here."""


def prompt(base: Base) -> list[int]:
    """The same token ids for everybody."""
    return base.tokenizer.chat([Message("user", QUESTION)])


def ours(base: Base, count: int, settings: Settings) -> Measure:
    """The kernel, with an adapter's gates open in every layer."""
    import numpy as np
    import torch

    from demo.adapter.adapter import Adapter
    from demo.adapter.spec import AdapterSpec
    from demo.llama.decode import Decoder, SlotSizes
    from demo.models import load_llama

    model = load_llama(base, torch.device("cpu"), settings.context)
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=base.config.layers, prompts=10))
    torch.nn.init.constant_(adapter.gate, 0.05)
    with torch.inference_mode():
        prefix = adapter.prefix(model)
    decoder = Decoder(model, SlotSizes(1, settings.context, 10), settings.threads)
    ids = prompt(base)

    def measure() -> dict[str, Any]:
        logits = decoder.prefill(0, ids, prefix)
        slot, place = np.array([0]), np.array([len(ids)])
        start = time.perf_counter()
        for _ in range(count):
            token = np.array([logits.argmax()])
            logits = decoder.step(token, slot, place)[0]
            place += 1
        return {"tokens_per_s": count / (time.perf_counter() - start)}

    return measure


def llama_cpp(base: Base, count: int, settings: Settings) -> Measure:
    """llama.cpp through llama-cpp-python on a Q8_0 file of the same weights."""
    import llama_cpp

    path = q8_0(settings.cache)
    model = llama_cpp.Llama(
        str(path), n_ctx=settings.context, n_threads=settings.threads, verbose=False
    )
    ids = prompt(base)

    def measure() -> dict[str, Any]:
        model.reset()
        model.eval(ids)
        token = model.sample(temp=0.0)
        start = time.perf_counter()
        for _ in range(count):
            model.eval([token])
            token = model.sample(temp=0.0)
        return {"tokens_per_s": count / (time.perf_counter() - start)}

    return measure


def q8_0(cache: Path) -> Path:
    """The embedded weights as llama.cpp's own Q8_0, made once by llama.cpp itself."""
    import llama_cpp

    path = cache / "bench" / "embedded-q8_0.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
        options.allow_requantize = True
        unfinished = path.with_suffix(".part")
        with embedded_gguf(quiet) as source:
            failed = llama_cpp.llama_model_quantize(
                str(source).encode(), str(unfinished).encode(), options
            )
        if failed:
            raise SystemExit("llama.cpp could not make its Q8_0 file.")
        unfinished.replace(path)
    return path


def bitsandbytes(base: Base, count: int, settings: Settings) -> Measure:
    """transformers' generate on bitsandbytes' 8-bit layers, bf16 elsewhere."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from demo.bench.hf_model import from_base

    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory() as folder:
        from_base(base).to(torch.bfloat16).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16,
            device_map="cpu",
            quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        )
    ids = torch.tensor([prompt(base)])
    options = {"do_sample": False, "pad_token_id": 2, "eos_token_id": None}

    def measure() -> dict[str, Any]:
        seconds = []
        with torch.inference_mode():
            for tokens in (1, count + 1):  # the difference leaves the prompt out
                start = time.perf_counter()
                out = model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, **options)
                seconds.append(time.perf_counter() - start)
        assert out.shape[1] == ids.shape[1] + count + 1
        return {"tokens_per_s": count / (seconds[1] - seconds[0])}

    return measure


CONTESTANTS = {"ours": ours, "llama.cpp": llama_cpp, "bitsandbytes": bitsandbytes}


def main() -> None:
    """The contestant's process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("tokens", type=int)
    args = parser.parse_args()
    settings = Settings()
    base = open_base(None, settings.cache, quiet)
    measure = CONTESTANTS[args.name](base, args.tokens, settings)
    measure()  # compiles, fills caches
    serve({"name": args.name}, measure)


if __name__ == "__main__":
    main()
