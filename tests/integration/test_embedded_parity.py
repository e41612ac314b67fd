"""The embedded base in 8 bits against its own weights in fp32, on ordinary English."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from demo.bench.peers import transformers as hf_model
from demo.llama.base import Base, load_llama
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.kernels.prefill import SLICE
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message
from demo.llama.weights.download import embedded_gguf
from demo.llama.weights.gguf import GGUFSource

CPU = torch.device("cpu")
TEXT = Path(__file__).parent.parent / "data" / "alice.txt"
WINDOW = 500  # tokens scored with one another; four windows make the 2,000
QUESTIONS = (
    "What is the capital of France?",
    "Write a short story about a lighthouse keeper.",
    "Explain how rain forms.",
    "List five fruits and their colours.",
    "What is 12 times 12?",
    "Translate 'good morning' into Spanish and explain the words.",
    "Why is the sky blue?",
    "Give me three tips for sleeping well.",
    "Write a Python function that reverses a list.",
    "Who wrote Hamlet, and when?",
)


@pytest.fixture(scope="module")
def text(embedded_base: Base) -> torch.Tensor:
    """(4, 500) token ids."""
    ids = embedded_base.tokenizer.encode_text(TEXT.read_text("utf-8"))[: 4 * WINDOW]
    assert len(ids) == 4 * WINDOW
    return torch.tensor(ids).view(4, WINDOW)


@pytest.fixture(scope="module")
def original(text: torch.Tensor, no_progress) -> torch.Tensor:
    """Log-probabilities (4, 500, V) of the weights as published, through transformers in fp32."""
    with embedded_gguf(no_progress) as path:
        model = hf_model.from_source(GGUFSource(path))
    with torch.inference_mode():
        return torch.stack([model(window[None]).logits[0] for window in text]).log_softmax(-1)


@pytest.mark.parametrize(("road", "kv_bits"), [("torch", 32), ("kernel", 32), ("kernel", 16)])
@pytest.mark.matrix("E10")
def test_8_bits_stay_close_to_the_published_weights(embedded_base, text, original, road, kv_bits):
    """As training and CUDA run the base, and as a prompt is read on a CPU."""
    model = load_llama(embedded_base, CPU, WINDOW)
    decoder = Decoder(model, SlotSizes(1, WINDOW, 1, kv_bits), threads=2)
    with torch.inference_mode():
        if road == "torch":
            hidden = torch.cat([model.forward(window[None]) for window in text])
        else:
            hidden = torch.stack([read(decoder, window.tolist()) for window in text])
        exact = Llama(
            embedded_base.config, embedded_base.weights, Int8Linear(torch.float32), WINDOW
        )
        ours = torch.stack([(model if road == "torch" else exact).logits(h) for h in hidden])
    ours = ours.log_softmax(-1)
    divergence = F.kl_div(ours, original, log_target=True, reduction="none").sum(-1).mean()
    agreement = (ours.argmax(-1) == original.argmax(-1)).float().mean()
    losses = [F.nll_loss(p[:, :-1].flatten(0, 1), text[:, 1:].flatten()) for p in (ours, original)]
    change = abs((losses[0] - losses[1]).exp().item() - 1)
    print(f"KL {divergence:.4f} nats, top-1 {agreement:.4f}, perplexity change {change:.4f}")
    assert divergence <= 0.008
    assert agreement >= 0.94
    assert change <= 0.01


def read(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    """Hidden states (T, D) of a whole text, which the decoder gives a slice at a time."""
    parts = [
        decoder.hidden(0, ids[start : start + SLICE], None, start=start)
        for start in range(0, len(ids), SLICE)
    ]
    return torch.from_numpy(np.concatenate(parts))


def test_the_kernel_writes_what_the_dequantised_model_writes(embedded_base):
    """200 greedy tokens for ten prompts, two of them alone and the others at once.

    The reference reads the kernel's whole text at once: while its own likeliest token is the
    kernel's at every place, it would have written the same text. A first difference counts only
    where its two logits are more than 1e-3 apart.
    """
    expected = hf_model.from_base(embedded_base)
    exact = Llama(embedded_base.config, embedded_base.weights, Int8Linear(torch.float32), 512)
    decoder = Decoder(exact, SlotSizes(8, 512, 1, kv_bits=32), threads=2)
    prompts = [embedded_base.tokenizer.chat([Message("user", question)]) for question in QUESTIONS]
    together = prompts[:1], prompts[1:2], prompts[2:]
    texts = [text for some in together for text in greedy(decoder, some, 200)]
    for question, prompt, written in zip(QUESTIONS, prompts, texts, strict=True):
        with torch.inference_mode():
            logits = expected(torch.tensor([prompt + written[:-1]])).logits[0, len(prompt) - 1 :]
        for row, token in zip(logits, written, strict=True):
            if row.argmax() != token:
                assert row.max() - row[token] <= 1e-3, question
                break


def greedy(decoder: Decoder, prompts: list[list[int]], count: int) -> list[list[int]]:
    """So many tokens after each prompt, all decoded together."""
    slots = np.arange(len(prompts))
    first = [decoder.prefill(slot, ids, None).argmax() for slot, ids in enumerate(prompts)]
    written, places = [np.array(first)], np.array([len(ids) for ids in prompts])
    for step in range(count - 1):
        written.append(decoder.step(written[-1], slots, places + step).argmax(1))
    return np.stack(written, 1).tolist()


def test_keys_and_values_in_16_bits_change_little(embedded_base, text):
    """Of all that the text's 2,000 tokens say about one another, beside 32 bits."""
    ids = text.flatten().tolist()
    model = Llama(embedded_base.config, embedded_base.weights, Int8Linear(torch.float32), len(ids))
    found = []
    for kv_bits in (32, 16):
        decoder = Decoder(model, SlotSizes(1, len(ids), 1, kv_bits), threads=2)
        with torch.inference_mode():
            found.append(model.logits(read(decoder, ids)).log_softmax(-1))
    exact, ours = found
    divergence = F.kl_div(ours, exact, log_target=True, reduction="none").sum(-1).mean()
    agreement = (ours.argmax(-1) == exact.argmax(-1)).float().mean()
    losses = [F.nll_loss(p[:-1], text.flatten()[1:]) for p in (ours, exact)]
    change = abs((losses[0] - losses[1]).exp().item() - 1)
    print(f"KL {divergence:.6f} nats, top-1 {agreement:.4f}, perplexity change {change:.5f}")
    assert 0 < divergence <= 3e-4
    assert agreement >= 0.985
    assert change <= 0.002


def test_use_leaves_the_base_as_it_was(embedded_base):
    before = digest(embedded_base)
    model = load_llama(embedded_base, CPU, 128)
    decoder = Decoder(model, SlotSizes(1, 128, 1), threads=2)
    greedy(decoder, [embedded_base.tokenizer.encode_text("Once upon a time")], 20)
    x = torch.randn(1, 3, embedded_base.config.width, requires_grad=True)
    model.run(x, range(2)).sum().backward()
    assert digest(embedded_base) == before


def digest(base: Base) -> str:
    import hashlib

    total = hashlib.sha256()
    w = base.weights
    stacks = (w.embedding, w.stacked_qkv, w.stacked_attention_output, w.stacked_gate_up)
    for tensor in (*(t for pair in (*stacks, w.stacked_down) for t in pair), w.output_norm):
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()
