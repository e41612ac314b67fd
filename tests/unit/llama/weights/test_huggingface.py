"""What is refused in a folder as the Hub has it, with the words a visitor sees."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.background_task import ProgressCallback
from demo.llama.base import open_base
from tests.fixtures import encode_template
from tests.formats import edit, holder, shards


def test_refused_nothing_there(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    message = refusal(tmp_path / "absent.gguf")
    assert message.startswith("There is no model at 'absent.gguf'. Name a GGUF file, a folder")


def test_refused_folder_without_a_model(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    empty = tmp_path / "photos"
    empty.mkdir()
    (empty / "cat.jpg").write_bytes(b"")
    assert refusal(empty) == (
        "The folder photos holds no model. It needs config.json and .safetensors or .bin files, or "
        "Meta's params.json and consolidated.00.pth."
    )
    (empty / "model.gguf").write_bytes(b"")
    assert refusal(empty).endswith("Name the file itself: model.gguf.")


@pytest.mark.matrix("A4")
def test_refused_not_a_gguf(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert refusal(path).startswith("notes.txt is not a GGUF file. Name a GGUF file, a folder")


def test_refused_missing_shard(tiny: Path, refusal: Callable[[Path], str]) -> None:
    shards(tiny)[1].unlink()
    assert re.fullmatch(
        r"tiny lacks model-00002-of-0000\d.safetensors, one of its \d weight files. "
        "Fetch the model again.",
        refusal(tiny),
    )


def test_refused_cut_shard(tiny: Path, refusal: Callable[[Path], str]) -> None:
    path = shards(tiny)[0]
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(tiny).startswith(f"{path.name} is cut off or damaged (0.1 MB). Fetch it")


def test_refused_index_that_leaves_the_folder(tiny: Path, refusal: Callable[[Path], str]) -> None:
    path = tiny / "model.safetensors.index.json"
    path.write_text(path.read_text().replace("model-00001", "../model-00001"))
    assert refusal(tiny).startswith("The index of tiny's weights is damaged.")


def test_refused_no_weights(tiny: Path, refusal: Callable[[Path], str]) -> None:
    for path in [*shards(tiny), tiny / "model.safetensors.index.json"]:
        path.unlink()
    message = refusal(tiny)
    assert message.startswith("tiny holds no weights: no .safetensors and no pytorch_model.bin")
    (tiny / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin is not a plain PyTorch file of tensors" in refusal(tiny)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "model.layers.1.mlp.up_proj.weight",
            lambda tensor: tensor[:-1].contiguous(),
            "the up weights of layer 1 are (49, 36), and the configuration asks for (50, 36).",
        ),
        (
            "model.layers.2.self_attn.k_proj.weight",
            lambda tensor: tensor.index_fill(0, torch.tensor(3), float("inf")),
            "tiny: the k weights of layer 2 hold numbers that are not finite.",
        ),
        (
            "model.norm.weight",
            lambda tensor: tensor * float("nan"),
            "tiny: the output norm weights hold numbers that are not finite.",
        ),
        (
            "model.layers.0.mlp.up_proj.weight",
            lambda tensor: tensor.to(torch.int8),
            "is stored as torch.int8. Use weights in fp32, fp16 or bf16.",
        ),
    ],
)
def test_refused_tensor(
    name: str, change: Any, message: str, tiny: Path, refusal: Callable[[Path], str]
) -> None:
    edit(holder(tiny, name), name, change)
    assert message in refusal(tiny)


def test_refused_tensor_missing_or_too_many(tiny: Path, refusal: Callable[[Path], str]) -> None:
    path = holder(tiny, "model.layers.0.mlp.up_proj.weight")
    tensors = load_file(path)
    without = {name: value for name, value in tensors.items() if "0.mlp.up_proj" not in name}
    save_file(without, path)
    assert "tiny lacks 'model.layers.0.mlp.up_proj.weight'." in refusal(tiny)
    save_file({**tensors, "model.layers.0.self_attn.q_proj.bias": torch.zeros(60)}, path)
    message = refusal(tiny)
    assert "holds 'model.layers.0.self_attn.q_proj.bias', which a LLaMA has not." in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "qwen2"}, "This is a qwen2 model; only the LLaMA architecture"),
        ({"quantization_config": {"quant_method": "gptq"}}, "tiny is already quantised (gptq)."),
    ],
)
def test_refused_configuration(
    fields: dict[str, Any], message: str, tiny: Path, refusal: Callable[[Path], str]
) -> None:
    path = tiny / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert message in refusal(tiny)


@pytest.mark.parametrize("text", ["", "[1]", '{"a"'])
def test_refused_damaged_configuration(
    text: str, tiny: Path, refusal: Callable[[Path], str]
) -> None:
    (tiny / "config.json").write_text(text)
    assert "config.json" in refusal(tiny)


def save_bin(folder: Path, parts: int) -> dict[str, torch.Tensor]:
    """Keep a folder's weights as `save_pretrained` did before there were safetensors."""
    tensors: dict[str, torch.Tensor] = {}
    for path in shards(folder):
        tensors |= load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    names = sorted(tensors)
    places = {
        name: f"pytorch_model-{1 + i % parts:05}-of-{parts:05}.bin" for i, name in enumerate(names)
    }
    for file in set(places.values()):
        torch.save({n: tensors[n] for n in names if places[n] == file}, folder / file)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return tensors


def test_bin_files_give_the_same_numbers(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    expected = open_base(str(tiny), tiny_cache, no_progress).fingerprint
    save_bin(tiny, 3)
    assert open_base(str(tiny), tiny_cache, no_progress).fingerprint == expected


@pytest.mark.matrix("A1", "A2")
def test_a_bin_file_runs_nothing(tiny: Path, refusal: Callable[[Path], str]) -> None:
    save_bin(tiny, 2)
    canary = tiny / "canary"
    torch.save({"model.norm.weight": Runs(canary)}, tiny / "pytorch_model-00001-of-00002.bin")
    assert "pytorch_model-00001-of-00002.bin is not a plain PyTorch file" in refusal(tiny)
    assert not canary.exists()


class Runs:
    """A pickle of this makes a file when it is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("own", [True, False])
def test_a_head_of_its_own_is_used_whatever_the_configuration_says(
    own: bool,
    tiny_llama_folder: Callable[..., Path],
    tmp_path: Path,
    no_progress: ProgressCallback,
) -> None:
    """LLaMA-Factory#10560: models that were tied, taught untied, and saved as if tied."""
    folder = tiny_llama_folder()
    if not own:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}))
    base = open_base(str(folder), tmp_path, no_progress)
    assert base.config.tied is not own
    assert (base.weights.output is base.weights.embedding) is not own


def test_refused_without_a_tokenizer(tiny: Path, refusal: Callable[[Path], str]) -> None:
    (tiny / "tokenizer.json").unlink()
    assert refusal(tiny).startswith("The tokenizer of tiny cannot be read. A GGUF file holds")
    (tiny / "tokenizer.model").write_text("IQ== 1\nIg== 2\n")
    assert "The tokenizer.model of tiny is damaged" in refusal(tiny)


def test_a_padding_token_without_a_row_is_left_out(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    path = tiny / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["added_tokens"].append(
        {**definition["added_tokens"][0], "id": 300, "content": "[PAD]"}
    )
    path.write_text(json.dumps(definition))
    tokenizer = open_base(str(tiny), tiny_cache, no_progress).tokenizer
    assert tokenizer.vocab == 300
    assert max(encode_template(tokenizer, "[PAD] hello")) < 300


def test_refused_vocabulary_without_rows(tiny: Path, refusal: Callable[[Path], str]) -> None:
    path = tiny / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["model"]["vocab"]["more"] = 300
    path.write_text(json.dumps(definition))
    assert refusal(tiny).startswith(
        "The tokenizer of tiny has 301 tokens and its embedding 300 rows."
    )
