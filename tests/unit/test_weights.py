"""The 8-bit cache and what is refused on the way into it, with the words a visitor sees."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.errors import CheckpointError, FetchError
from demo.llama import hub
from demo.llama.base import open_base
from demo.llama.convert import Progress
from demo.llama.meta_source import MetaSource


@pytest.fixture(scope="module")
def pristine(tiny_llama_folder: Callable[..., Path]) -> Path:
    return tiny_llama_folder(shard_size="60KB")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage, of a model in several files."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def refusal(cache: Path, no_progress: Progress) -> Callable[[Path], str]:
    """Opens what must be refused, checks that nothing was left behind, gives the message."""

    def check(path: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            open_base(str(path), cache, no_progress)
        assert not list(cache.glob("*/*.safetensors"))
        assert not list(cache.glob("*/.*.part"))
        assert str(path.parent) not in str(caught.value)  # no path of this machine
        return str(caught.value)

    return check


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def edit(path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(path)
    tensors[name] = change(tensors[name])
    save_file(tensors, path)


def holder(folder: Path, name: str) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][name]


def test_a_second_opening_converts_nothing(folder: Path, cache: Path) -> None:
    first: list[str] = []
    one = open_base(str(folder), cache, lambda text, share: first.append(text))
    again: list[str] = []
    two = open_base(str(folder), cache, lambda text, share: again.append(text))
    assert "Converting tiny to 8 bits" in first
    assert again == ["Checking the converted model"]
    assert one.fingerprint == two.fingerprint
    assert one.name == two.name == "tiny"
    assert torch.equal(one.weights.stacked_down.CB, two.weights.stacked_down.CB)


def test_progress_runs_from_0_to_1(folder: Path, cache: Path) -> None:
    shares: list[float] = []
    open_base(str(folder), cache, lambda text, share: shares.append(share or 0.0))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("file", ["weights.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_a_damaged_cache_is_made_again(
    file: str, damage: str, folder: Path, cache: Path, no_progress: Progress
) -> None:
    before = open_base(str(folder), cache, no_progress)
    path = next(cache.glob(f"*/{file}"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    changed = {"flip": bytes(data), "cut": bytes(data[:middle]), "empty": b""}
    path.unlink()
    if damage != "remove":
        path.write_bytes(changed[damage])
    seen: list[str] = []
    after = open_base(str(folder), cache, lambda text, share: seen.append(text))
    assert after.fingerprint == before.fingerprint
    assert after.config == before.config
    assert "Converting tiny to 8 bits" in seen


def test_another_format_is_made_again(folder: Path, cache: Path, no_progress: Progress) -> None:
    open_base(str(folder), cache, no_progress)
    path = next(cache.glob("*/config.json"))
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))
    open_base(str(folder), cache, no_progress)
    assert '"format": 1' in path.read_text()


def test_a_changed_model_is_converted_again(
    folder: Path, cache: Path, no_progress: Progress
) -> None:
    one = open_base(str(folder), cache, no_progress)
    edit(holder(folder, "lm_head.weight"), "lm_head.weight", lambda tensor: tensor * 2)
    two = open_base(str(folder), cache, no_progress)
    assert torch.equal(two.weights.output.SCB, one.weights.output.SCB * 2)
    assert one.fingerprint != two.fingerprint


def test_a_change_while_mapped_does_not_reach_the_mapped(
    folder: Path, cache: Path, no_progress: Progress
) -> None:
    """A rebuilt cache is another file: a program that runs keeps the one it opened."""
    base = open_base(str(folder), cache, no_progress)
    before = base.weights.embedding.CB.clone()
    next(cache.glob("*/config.json")).unlink()
    open_base(str(folder), cache, no_progress)
    assert torch.equal(base.weights.embedding.CB, before)


def test_only_one_matrix_is_held_at_a_time(
    folder: Path, cache: Path, no_progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gets pieces no larger than one part of one layer."""
    from demo.llama import convert

    sizes: list[int] = []
    chunks = convert._chunks

    def watched(source: convert.Source) -> Iterator[bytes]:
        for chunk in chunks(source):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(convert, "_chunks", watched)
    open_base(str(folder), cache, no_progress)
    assert max(sizes) == 300 * 36  # the embedding, int8


def test_weights_of_fp16_and_bf16(folder: Path, cache: Path, no_progress: Progress) -> None:
    for path in shards(folder):
        for name in load_file(path):
            edit(path, name, lambda tensor: tensor.bfloat16())
    half = open_base(str(folder), cache, no_progress)
    name = "model.layers.0.mlp.down_proj.weight"
    stored = load_file(holder(folder, name))[name].float()
    pair = half.weights.down(0)
    assert torch.equal(pair.SCB, stored.abs().amax(1))


def test_moving_keeps_tied_tied(
    tiny_llama_folder: Callable[..., Path], cache: Path, no_progress: Progress
) -> None:
    weights = open_base(
        str(tiny_llama_folder(tie_word_embeddings=True)), cache, no_progress
    ).weights
    moved = weights.to(torch.device("meta"))
    assert moved.output is moved.embedding
    assert moved.stacked_qkv.CB.device.type == "meta"
    assert moved.qkv(0).CB.shape == weights.qkv(0).CB.shape


def test_refused_nothing_there(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    message = refusal(tmp_path / "absent.gguf")
    assert message.startswith("There is no model at 'absent.gguf'. Name a GGUF file, a folder")


def test_refused_folder_without_a_model(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    empty = tmp_path / "photos"
    empty.mkdir()
    (empty / "cat.jpg").write_bytes(b"")
    assert refusal(empty) == (
        "The folder photos holds no model. It needs config.json and .safetensors files, or Meta's "
        "params.json and consolidated.00.pth."
    )
    (empty / "model.gguf").write_bytes(b"")
    assert refusal(empty).endswith("Name the file itself: model.gguf.")


def test_refused_not_a_gguf(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert refusal(path).startswith("notes.txt is not a GGUF file. Name a GGUF file, a folder")


def test_refused_missing_shard(folder: Path, refusal: Callable[[Path], str]) -> None:
    shards(folder)[1].unlink()
    assert re.fullmatch(
        r"tiny lacks model-00002-of-0000\d.safetensors, one of its \d weight files. "
        "Fetch the model again.",
        refusal(folder),
    )


def test_refused_cut_shard(folder: Path, refusal: Callable[[Path], str]) -> None:
    path = shards(folder)[0]
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(folder).startswith(f"{path.name} is cut off or damaged (0.1 MB). Fetch it")


def test_refused_index_that_leaves_the_folder(folder: Path, refusal: Callable[[Path], str]) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text().replace("model-00001", "../model-00001"))
    assert refusal(folder).startswith("The index of tiny's weights is damaged.")


def test_refused_no_weights(folder: Path, refusal: Callable[[Path], str]) -> None:
    for path in [*shards(folder), folder / "model.safetensors.index.json"]:
        path.unlink()
    assert "no .safetensors file is in the folder. Fetch" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "Its .bin files are not opened, because they can run code." in refusal(folder)


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
    name: str, change: Any, message: str, folder: Path, refusal: Callable[[Path], str]
) -> None:
    edit(holder(folder, name), name, change)
    assert message in refusal(folder)


def test_refused_tensor_missing_or_too_many(folder: Path, refusal: Callable[[Path], str]) -> None:
    path = holder(folder, "model.layers.0.mlp.up_proj.weight")
    tensors = load_file(path)
    without = {name: value for name, value in tensors.items() if "0.mlp.up_proj" not in name}
    save_file(without, path)
    assert "tiny lacks 'model.layers.0.mlp.up_proj.weight'." in refusal(folder)
    save_file({**tensors, "model.layers.0.self_attn.q_proj.bias": torch.zeros(60)}, path)
    message = refusal(folder)
    assert "holds 'model.layers.0.self_attn.q_proj.bias', which a LLaMA has not." in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "qwen2"}, "This is a qwen2 model; only the LLaMA architecture"),
        ({"quantization_config": {"quant_method": "gptq"}}, "tiny is already quantised (gptq)."),
    ],
)
def test_refused_configuration(
    fields: dict[str, Any], message: str, folder: Path, refusal: Callable[[Path], str]
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert message in refusal(folder)


@pytest.mark.parametrize("text", ["", "[1]", '{"a"'])
def test_refused_damaged_configuration(
    text: str, folder: Path, refusal: Callable[[Path], str]
) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_refused_without_a_tokenizer(folder: Path, refusal: Callable[[Path], str]) -> None:
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).startswith("The tokenizer of tiny cannot be read. A GGUF file holds")
    (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    assert "is not a sentencepiece model: it is damaged, or Llama 3's" in refusal(folder)


def test_a_padding_token_without_a_row_is_left_out(
    folder: Path, cache: Path, no_progress: Progress
) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["added_tokens"].append(
        {**definition["added_tokens"][0], "id": 300, "content": "[PAD]"}
    )
    path.write_text(json.dumps(definition))
    tokenizer = open_base(str(folder), cache, no_progress).tokenizer
    assert tokenizer.vocab == 300
    assert max(tokenizer.encode_template("[PAD] hello")) < 300


def test_refused_vocabulary_without_rows(folder: Path, refusal: Callable[[Path], str]) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["model"]["vocab"]["more"] = 300
    path.write_text(json.dumps(definition))
    assert refusal(folder).startswith(
        "The tokenizer of tiny has 301 tokens and its embedding 300 rows."
    )


def test_refused_full_disk(
    folder: Path, refusal: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    assert "needs 0 MB in the cache folder, and 0 MB are free. Free some" in refusal(folder)


def test_refused_cache_that_is_a_file(folder: Path, tmp_path: Path, no_progress: Progress) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be kept in the cache folder: .*Free"):
        open_base(str(folder), tmp_path / "file", no_progress)


def meta_folder(folder: Path, tensors: Any, **how: Any) -> Path:
    folder.mkdir(exist_ok=True)
    params = {"dim": 8, "multiple_of": 8, "n_heads": 2, "n_layers": 1, "norm_eps": 1e-5}
    (folder / "params.json").write_text(json.dumps(params))
    torch.save(tensors, folder / "consolidated.00.pth", **how)
    return folder


def embedded(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        MetaSource(folder)
    return str(caught.value)


class RunsCode:
    """A pickle that would make a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran-code",)


def test_refused_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = "consolidated.00.pth is not a plain PyTorch file of tensors, or it is damaged"
    assert words in embedded(meta_folder(tmp_path / "code", {"a": RunsCode()}))
    assert not Path("ran-code").exists()
    assert words in embedded(meta_folder(tmp_path / "list", [torch.zeros(2)]))
    legacy = meta_folder(
        tmp_path / "legacy", {"a": torch.zeros(2)}, _use_new_zipfile_serialization=False
    )
    assert words in embedded(legacy)


def test_refused_compressed_and_flipped(tmp_path: Path) -> None:
    words = "consolidated.00.pth is not a plain PyTorch file of tensors, or it is damaged"
    folder = meta_folder(tmp_path / "7B", {"tok_embeddings.weight": torch.zeros(400, 8)})
    path = folder / "consolidated.00.pth"
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as old:
        members = {item.filename: old.read(item) for item in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    assert words in embedded(folder)
    at = whole.index(bytes(2000)) + 500  # inside the zeros
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    assert words in embedded(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 8),  # four bytes shown eight million times
        torch.zeros(8, 400).T,
        torch.zeros(8, 8, device="meta"),
        torch.eye(8).to_sparse(),
        torch.zeros(8, 8, dtype=torch.int32),
        torch.zeros(8),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_refused_tensors_that_are_not_plain(tensor: torch.Tensor, tmp_path: Path) -> None:
    tensors = {"tok_embeddings.weight": tensor}
    tensors["layers.0.attention.wq.weight"] = torch.zeros(8, 8)
    message = embedded(meta_folder(tmp_path / "7B", tensors))
    assert "'tok_embeddings.weight' is missing from a shard or is not a plain tensor" in message


def test_refused_missing_meta_shard(tmp_path: Path) -> None:
    half = {
        "tok_embeddings.weight": torch.zeros(20, 4),
        "layers.0.attention.wq.weight": torch.zeros(4, 8),
    }
    assert embedded(meta_folder(tmp_path / "13B", half)) == (
        "13B has 1 consolidated.NN.pth files where 2 belong. Fetch the missing ones."
    )


def test_refused_meta_without_a_tokenizer(tmp_path: Path) -> None:
    whole = {
        "tok_embeddings.weight": torch.zeros(20, 8),
        "layers.0.attention.wq.weight": torch.zeros(8, 8),
    }
    source = MetaSource(meta_folder(tmp_path / "7B", whole))
    with pytest.raises(CheckpointError, match="7B has no tokenizer.model, neither beside"):
        _ = source.tokenizer


def test_a_hub_id_that_cannot_be_fetched(
    tmp_path: Path, no_progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def offline(*args: Any, **how: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no address of a host in here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FetchError) as caught:
        open_base("some/llama", tmp_path, no_progress)
    assert str(caught.value) == (
        "some/llama could not be fetched from the Hugging Face Hub: the Hub did not answer. Check "
        "the id and the network, or download the model and start with --llama FOLDER."
    )


def test_a_hub_id_is_opened_from_its_snapshot(
    folder: Path, cache: Path, no_progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def fetched(repository: str, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, patterns=allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert open_base("some/llama", cache, no_progress).name == "some/llama"
    assert asked == {"repository": "some/llama", "patterns": hub.PATTERNS}
    assert not any("bin" in pattern or "pt" in pattern for pattern in hub.PATTERNS)
