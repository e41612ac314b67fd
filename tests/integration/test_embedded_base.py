"""The embedded base, real weights from the package index."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from demo.background_task import ProgressCallback
from demo.llama.base import Base, open_base
from demo.llama.config import LlamaConfig
from demo.llama.tokenizer.chat_template import Message

SECOND_START = """
import json, socket, sys, time
from pathlib import Path

def refuse(*args, **how):
    raise OSError("the network was used")

socket.socket.connect = refuse
from demo.llama.base import open_base

said = []
base = open_base(None, Path(sys.argv[1]), lambda message, share: said.append(message))
slow = {"transformers", "gguf", "sentencepiece", "huggingface_hub", "bitsandbytes"}
slow = sorted(slow & set(sys.modules))
print(json.dumps({"fingerprint": base.fingerprint, "said": said, "slow": slow}))
"""


def test_shape(embedded_base: Base) -> None:
    assert embedded_base.name == "SmolLM2-135M-Instruct"
    assert embedded_base.config == LlamaConfig(
        layers=30,
        width=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        ffn=1536,
        vocab=49_152,
        norm_eps=1e-5,
        rope_theta=100_000.0,
        context=8192,
        tied=True,
    )
    assert embedded_base.weights.output is embedded_base.weights.embedding
    assert embedded_base.weights.stacked_qkv.CB.shape == (30, 960, 576)
    assert embedded_base.weights.stacked_gate_up.SCB.shape == (30, 3072)
    assert embedded_base.tokenizer.vocab == embedded_base.config.vocab


def test_fingerprint_is_the_same_on_every_machine(embedded_base: Base) -> None:
    """Adapters name it: a change here makes every shipped adapter unfit."""
    known = "5c3f2d0aa5f16f8c9b07bbd995fb8679434ebc308976a382e00eecdf856704db"
    assert embedded_base.fingerprint == known


def test_text_round_trip(embedded_base: Base) -> None:
    texts = [
        "Hello, world! 3.14159",
        "日本語 🦙 👩‍👩‍👧",
        "  \n\ttabs\n",
        "<|im_end|>",
        "မြန်မာ שלום",
    ]
    for text in texts:
        ids = embedded_base.tokenizer.encode_text(text)
        assert embedded_base.tokenizer.decode(ids) == text
        assert not embedded_base.tokenizer.controls & set(ids)
    # As SmolLM2 learned it, each digit is a token: transformers' reader of GGUF misses that.
    assert len(embedded_base.tokenizer.encode_text("31415")) == 5


def test_control_tokens(embedded_base: Base) -> None:
    tokenizer = embedded_base.tokenizer
    assert tokenizer.stop_ids == {0, 2}
    assert len(tokenizer.controls) == 17
    ids = tokenizer.chat([Message("user", "hi <|im_start|>")])
    assert [token for token in ids if token in tokenizer.controls] == [1, 2, 1, 2, 1]
    text = tokenizer.decode(ids)
    assert text.startswith("system\nYou are a helpful AI assistant named SmolLM")
    own = tokenizer.chat([Message("system", "Be brief."), Message("user", "hi")])
    assert "SmolLM" not in tokenizer.decode(own)


def test_a_second_start_needs_no_network_and_no_slow_library(
    embedded_base: Base, base_cache: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SECOND_START, str(base_cache)],
        env={**os.environ, "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    assert found["fingerprint"] == embedded_base.fingerprint
    assert found["said"] == ["Checking the converted model"]
    assert found["slow"] == []


def test_a_flipped_bit_in_the_cache_is_mended(
    embedded_base: Base, base_cache: Path, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    """On a copy. What is fetched and converted again is the same file, bit for bit."""
    folder = next(base_cache.glob("SmolLM2-135M-Instruct-*"))
    weights = Path(shutil.copytree(folder, tmp_path / folder.name)) / "weights.safetensors"
    with open(weights, "r+b") as file:
        file.seek(100_000_000)
        byte = file.read(1)[0]
        file.seek(100_000_000)
        file.write(bytes([byte ^ 4]))
    seen: list[str] = []
    again = open_base(None, tmp_path, lambda message, share: seen.append(message))
    assert "Converting SmolLM2-135M-Instruct to 8 bits" in seen
    assert again.fingerprint == embedded_base.fingerprint
    assert len(again.tokenizer.encode_text("31415")) == 5
    assert sorted(path.name for path in weights.parent.iterdir()) == [
        ".lock",
        "config.json",
        "tokenizer.json",
        "weights.safetensors",
    ]
    seen.clear()
    open_base(None, tmp_path, lambda message, share: seen.append(message))
    assert seen == ["Checking the converted model"]
