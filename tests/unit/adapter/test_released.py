"""Released adapters on a tiny random LLaMA in Meta's layout, beside the published formulas."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from demo.adapter import released
from demo.adapter.adapter import load_adapter, save_adapter
from demo.adapter.library import Compatibility, check_compatible
from demo.adapter.passport import Origin, Passport, read_passport
from demo.adapter.released import read_released, recognise
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.decoder import Decoder, SlotSizes, TorchDecoder
from demo.llama.int8 import Int8Linear, load_weights
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message, PromptForm
from demo.llama.weights.meta import MetaSource
from demo.llama.weights.quantise import write_weights
from demo.settings import CHECKPOINTS

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

LAYERS, WIDTH, HEADS, FFN, VOCAB = 4, 16, 4, 48, 40
K, L = 10, 3
IDS = [1, 7, 39, 12, 5, 30, 8, 21]
FIRST = 5  # of them go in at once
Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def meta() -> Tensors:
    """A LLaMA whose rows are whole numbers of -127 to 127 times a power of two.

    So eight bits hold it exactly.
    """
    torch.manual_seed(5)
    shapes = {"tok_embeddings.weight": (VOCAB, WIDTH), "output.weight": (VOCAB, WIDTH)}
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        for name in ("wq", "wk", "wv", "wo"):
            shapes[f"{at}attention.{name}.weight"] = (WIDTH, WIDTH)
        shapes |= {f"{at}feed_forward.{name}.weight": (FFN, WIDTH) for name in ("w1", "w3")}
        shapes[f"{at}feed_forward.w2.weight"] = (WIDTH, FFN)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        numbers = torch.randint(-127, 128, shape)
        numbers[:, 0] = 127
        tensors[name] = numbers * 2.0**-8
    norms = [
        f"layers.{n}.{kind}_norm.weight" for n in range(LAYERS) for kind in ("attention", "ffn")
    ]
    return tensors | {name: 1 + torch.randn(WIDTH) / 8 for name in (*norms, "norm.weight")}


@pytest.fixture(scope="module")
def tiny_meta(meta: Tensors, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The LLaMA as the program has it; its tokenizer is the small base's."""
    folder = tmp_path_factory.mktemp("7B")
    params = {"dim": WIDTH, "multiple_of": 16, "n_heads": HEADS, "n_layers": LAYERS}
    (folder / "params.json").write_text(json.dumps(params | {"norm_eps": 1e-6}))
    torch.save(meta, folder / "consolidated.00.pth")
    source = MetaSource(folder)
    digest = write_weights(folder / "weights.safetensors", source, lambda message, share: None)
    weights = load_weights(folder / "weights.safetensors", source.config)
    return Base("7B", source.config, weights, base.tokenizer, digest)


def adapter_of(*, heads: int = HEADS, stored: int = LAYERS) -> Tensors:
    """Random, in the released layout; layers without prompts are closed and in half precision."""
    torch.manual_seed(9)
    shape = (1, heads, 1, 1) if heads > 1 else (1,)
    gates = {
        f"layers.{n}.attention.gate": torch.randn(shape)
        if n >= LAYERS - L
        else torch.zeros(shape, dtype=torch.half)
        for n in range(LAYERS - stored, LAYERS)
    }
    return gates | {"adapter_query.weight": torch.randn(L * K, WIDTH)}


def save(tensors: Any, folder: Path) -> Path:
    path = folder / "some-file.pth"
    torch.save(tensors, path)
    return path


def published(meta: Tensors, adapter: Tensors, ids: list[int], *, tanh: bool) -> Tensor:
    """Logits (T, V) by arXiv 2302.13971 and 2303.16199, section 3.2, in Meta's rotary order."""
    head, tokens = WIDTH // HEADS, len(ids)
    angle = torch.outer(torch.arange(tokens), 1e4 ** (-torch.arange(0, head, 2) / head))
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]  # (T, 1, d/2)
    mask = torch.full((tokens, tokens), -torch.inf).triu(1)
    prompts = adapter["adapter_query.weight"].view(L, K, WIDTH)

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * meta[f"{name}.weight"]

    def rotated(x: Tensor) -> Tensor:  # (T, H, d), neighbours are one complex number
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | float) -> Tensor:
        scores = torch.einsum("thd,shd->hts", q, k) / head**0.5 + mask
        return torch.einsum("hts,shd->thd", scores.softmax(-1), v)

    x = meta["tok_embeddings.weight"][ids]
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        wq, wk, wv, wo = (meta[f"{at}attention.{name}.weight"] for name in ("wq", "wk", "wv", "wo"))
        normed = norm(x, f"{at}attention_norm")
        q, k, v = ((normed @ w.T).view(tokens, HEADS, head) for w in (wq, wk, wv))
        q, k = rotated(q), rotated(k)
        mixed = attended(q, k, v, mask)
        if layer >= LAYERS - L:
            prompt = prompts[layer - (LAYERS - L)]
            key, value = ((prompt @ w.T).view(K, HEADS, head) for w in (wk, wv))
            gate = adapter[f"{at}attention.gate"].flatten()[:, None]  # (H or 1, 1)
            mixed = mixed + (gate.tanh() if tanh else gate) * attended(q, key, value, 0)
        x = x + mixed.flatten(1) @ wo.T
        normed = norm(x, f"{at}ffn_norm")
        w1, w2, w3 = (meta[f"{at}feed_forward.{name}.weight"] for name in ("w1", "w2", "w3"))
        x = x + (torch.nn.functional.silu(normed @ w1.T) * (normed @ w3.T)) @ w2.T
    return norm(x, "norm") @ meta["output.weight"].T


@pytest.mark.parametrize(
    ("heads", "gate", "form"),
    [
        (HEADS, None, "tanh"),
        (HEADS, "tanh", "tanh"),
        (HEADS, "raw", "raw"),
        (1, None, "raw"),
        (1, "tanh", "tanh"),
    ],
)
@pytest.mark.matrix("A3", "A13", "E9")
def test_a_released_file_is_what_was_published(meta, tiny_meta, tmp_path, heads, gate, form):
    tensors = adapter_of(heads=heads)
    expected = published(meta, tensors, IDS, tanh=form == "tanh").numpy()[FIRST - 1 :]
    adapter, passport = read_released(save(tensors, tmp_path), tiny_meta, "alpaca", gate=gate)
    assert (passport.spec, passport.spec.gate, adapter.spec) == (adapter.spec, form, passport.spec)
    save_adapter(adapter, passport, tmp_path / "alpaca.safetensors")
    again, read = load_adapter(tmp_path / "alpaca.safetensors")
    assert read == passport
    model = Llama(tiny_meta.config, tiny_meta.weights, Int8Linear(torch.float32), 32)
    prefix = again.fixed_prefix(model)
    inside = TorchDecoder(model, SlotSizes(1, 32, K, kv_bits=32))
    compiled = Decoder(model, SlotSizes(1, 32, K, kv_bits=32), 1)
    found = [inside.prefill(0, IDS[:FIRST], prefix)]
    compiled.set_prefix(0, prefix)
    stepped = []
    for place, token in enumerate(IDS):
        columns = [np.array([n], np.int64) for n in (token, 0, place)]
        if place >= FIRST:
            found.append(inside.step(*columns)[0])
        stepped.append(compiled.step(*columns)[0].copy())
    assert np.abs(np.stack(found) - expected).max() <= 1e-4
    assert np.abs(np.stack(stepped)[FIRST - 1 :] - expected).max() <= 1e-4
    assert np.abs(compiled.prefill(0, IDS[:FIRST], prefix) - expected[0]).max() <= 3e-3
    closed = again.fixed_prefix(model, strength=0.0)
    plain = inside.prefill(0, IDS, None)
    assert np.array_equal(inside.prefill(0, IDS, closed), plain)
    assert np.abs(plain - expected[-1]).max() > 0.1


def test_the_passport_says_where_it_comes_from_and_how_it_is_used(tiny_meta, tmp_path):
    import hashlib

    path = save(adapter_of(stored=L), tmp_path)  # gates of the adapted layers alone
    _, passport = read_released(path, tiny_meta, "alpaca")
    assert (passport.name, passport.base) == ("alpaca", "7B")
    assert passport.base_fingerprint == tiny_meta.fingerprint
    assert passport.origin == Origin(
        "some-file.pth",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "LLaMA-Adapter V1, text",
        PromptForm("alpaca", bos=True),
        {"temperature": 0.1, "top_p": 0.75, "max_new_tokens": 512},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layers.2.attention.gate"), "lacks 'layers.2.attention.gate'"),
        (lambda t: t.pop("layers.3.attention.gate"), "lacks 'layers.3.attention.gate'"),
        (lambda t: t.pop("adapter_query.weight"), "is no adapter that the authors released"),
        (lambda t: t.update(extra=torch.zeros(1)), "holds 'extra', which no adapter of its kind"),
        (
            lambda t: t.update({"layers.4.attention.gate": torch.zeros(1, HEADS, 1, 1)}),
            "holds 'layers.4.attention.gate', which no adapter",
        ),
        (
            lambda t: t.update({"adapter_query.weight": torch.zeros(L * K, 24)}),
            r"'adapter_query.weight' as \(30, 24\); here it has to be \(any, 16\)",
        ),
        (
            lambda t: t.update({"layers.1.attention.gate": torch.zeros(1, 8, 1, 1)}),
            r"'layers.1.attention.gate' as \(1, 8, 1, 1\); .* \(1, 4, 1, 1\) or \(1\)",
        ),
        (
            lambda t: t.update({"layers.1.attention.gate": torch.zeros(1)}),
            "layers with one gate and others with one a head",
        ),
        (
            lambda t: t.update({"layers.1.attention.gate": 0.5}),
            "'layers.1.attention.gate' as float",
        ),
        (
            lambda t: t.update({"adapter_query.weight": torch.zeros(1, WIDTH).expand(30, WIDTH)}),
            "'adapter_query.weight' as",
        ),
        (
            lambda t: t.update({"adapter_query.weight": torch.zeros(L * K - 1, WIDTH)}),
            "with 29 rows, which is not 10 for each of at most 4 layers",
        ),
        (
            lambda t: t.update({"adapter_query.weight": torch.zeros(50, WIDTH)}),
            "with 50 rows, which is not 10 for each of at most 4 layers",
        ),
        (
            lambda t: t["adapter_query.weight"][2, 3:4].fill_(float("nan")),
            "values in 'adapter_query.weight' that are not finite",
        ),
        (
            lambda t: t["layers.3.attention.gate"].fill_(float("inf")),
            "values in 'layers.3.attention.gate' that are not finite",
        ),
        (
            lambda t: t["layers.0.attention.gate"].fill_(0.5),
            "opens gates of layers that have no prompts when each has 10",
        ),
    ],
)
@pytest.mark.matrix("A4")
def test_what_is_not_whole_or_not_for_this_base_is_refused(tiny_meta, tmp_path, change, message):
    tensors = adapter_of()
    change(tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_released(save(tensors, tmp_path), tiny_meta, "alpaca")
    assert "some-file.pth" in str(caught.value) and str(tmp_path) not in str(caught.value)


def caption_of(*, blocks: int = 2) -> Tensors:
    """A random captioner in the released layout, for tokens of 12 numbers, 32 wide inside."""
    tensors = {
        name.replace("adapter_query", "cap_adapter_query").replace(".gate", ".cap_gate"): value
        for name, value in adapter_of().items()
    }
    shapes: dict[str, tuple[int, ...]] = {"clip_proj": (32, 12), "visual_proj": (WIDTH, 32)}
    for n in range(blocks):
        at = f"visual_blocks.{n}."
        shapes |= {f"{at}norm1": (32,), f"{at}attn.qkv": (96, 32), f"{at}attn.proj": (32, 32)}
        shapes |= {f"{at}norm2": (32,), f"{at}mlp.fc1": (128, 32), f"{at}mlp.fc2": (32, 128)}
    shapes |= {"clip_proj_norm": (32,), "visual_proj_norm": (WIDTH,)}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape) / 4
        tensors[f"{name}.bias"] = torch.randn(shape[0]) / 4
    return tensors | {"visual_query.weight": torch.randn(K, 32)}


def gathered(t: Tensors, tokens: Tensor, blocks: int) -> Tensor:
    """Vectors (K, D) by the authors' projection of one picture's tokens (T, 12), written out."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]

    x = torch.cat((t["visual_query.weight"], norm(linear(tokens, "clip_proj"), "clip_proj_norm")))
    for n in range(blocks):
        at = f"visual_blocks.{n}."
        qkv = linear(norm(x, f"{at}norm1"), f"{at}attn.qkv").view(len(x), 3, 16, 2)
        q, k, v = qkv.unbind(1)  # (K + T, 16 heads, 2)
        scores = torch.einsum("thd,shd->hts", q, k) / 2**0.5
        mixed = torch.einsum("hts,shd->thd", scores.softmax(-1), v).flatten(1)
        x = x + linear(mixed, f"{at}attn.proj")
        inner = linear(norm(x, f"{at}norm2"), f"{at}mlp.fc1")
        gelu = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        x = x + linear(gelu, f"{at}mlp.fc2")
    return norm(linear(x[:K], "visual_proj"), "visual_proj_norm")


EYES = SimpleNamespace(
    name="eyes",
    fingerprint="print",
    token_size=12,
    class_token=True,
    preprocessing=SimpleNamespace(size=[4, 4]),
)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.matrix("A3", "E9")
def test_a_released_captioner_sees_as_was_published(meta, tiny_meta, tmp_path, blocks):
    tensors = caption_of(blocks=blocks)
    path = save(tensors, tmp_path)
    read, passport = read_released(path, tiny_meta, "captions", tower=EYES)
    save_adapter(read, passport, tmp_path / "captions.safetensors")
    adapter, again = load_adapter(tmp_path / "captions.safetensors")
    assert again == passport and passport.origin.prompt == PromptForm("bare")
    assert (passport.tower, passport.tower_fingerprint, passport.spec.gate) == (
        "eyes",
        "print",
        "tanh",
    )
    assert sum(p.numel() for p in adapter.parameters()) == passport.spec.parameters
    tokens = torch.randn(2, 5, 12)
    vectors = torch.stack([gathered(tensors, one, blocks) for one in tokens])
    assert (adapter.visual(tokens) - vectors).abs().max() <= 1e-5
    model = Llama(tiny_meta.config, tiny_meta.weights, Int8Linear(torch.float32), 32)
    prefix = adapter.fixed_prefix(model, tokens[1:])
    prompts = tensors["cap_adapter_query.weight"].view(L, K, WIDTH) + vectors[1]
    plain = {n.replace("cap_", ""): v for n, v in tensors.items()}
    told = plain | {"adapter_query.weight": prompts.flatten(0, 1)}
    expected = published(meta, told, IDS, tanh=True)[-1].numpy()
    found = TorchDecoder(model, SlotSizes(1, 32, K, kv_bits=32)).prefill(0, IDS, prefix)
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize(
    ("change", "tower", "message"),
    [
        (lambda t: None, None, "vision transformer. Name that with --clip"),
        (lambda t: None, {"token_size": None}, "vision transformer. Name that with --clip"),
        (
            lambda t: None,
            {"token_size": 9},
            r"'clip_proj.weight' as \(32, 12\); here it has to be \(32, 9\)",
        ),
        (lambda t: t.pop("visual_blocks.1.mlp.fc2.bias"), {}, "lacks 'visual_blocks.1.mlp.fc2.bia"),
        (lambda t: t.pop("visual_blocks.0.norm1.weight"), {}, "has 0 blocks of 16 heads"),
        (lambda t: t.pop("visual_query.weight"), {}, "lacks 'visual_query.weight'"),
        (
            lambda t: t.update({"visual_query.weight": torch.zeros(K, 40)}),
            {},
            "16 heads at width 40, which cannot be",
        ),
        (lambda t: t.pop("layers.2.attention.cap_gate"), {}, "lacks 'layers.2.attention.cap_gate'"),
        (lambda t: t["visual_proj.bias"].fill_(float("nan")), {}, "in 'visual_proj.bias' that are"),
        (lambda t: t.update(clip=torch.zeros(1)), {}, "holds 'clip', which no adapter"),
    ],
)
def test_a_captioner_that_is_not_whole_is_refused(tiny_meta, tmp_path, change, tower, message):
    tensors = caption_of()
    change(tensors)
    eyes = None if tower is None else SimpleNamespace(**vars(EYES) | tower)
    with pytest.raises(CheckpointError, match=message):
        read_released(save(tensors, tmp_path), tiny_meta, "captions", tower=eyes)


def test_an_adapter_of_tokens_fits_towers_with_such_tokens(tiny_meta, tmp_path):
    path = save(caption_of(), tmp_path)
    _, passport = read_released(path, tiny_meta, "captions", tower=EYES)
    fit = Compatibility("7B", tiny_meta.fingerprint, tiny_meta.config, "eyes", "print", 3, 12)
    check_compatible(passport, fit)
    for size, words in ((8, "eyes gives tokens of 8"), (None, "eyes gives no tokens")):
        with pytest.raises(CheckpointError, match=f"takes tokens of 12 numbers; {words}"):
            check_compatible(passport, replace(fit, token_size=size))


def test_another_number_of_prompts_can_be_said(tiny_meta, tmp_path):
    tensors = adapter_of()
    tensors["adapter_query.weight"] = torch.randn(2 * 15, WIDTH)
    tensors["layers.1.attention.gate"].zero_()
    adapter, _ = read_released(save(tensors, tmp_path), tiny_meta, "alpaca", prompts=15)
    assert (adapter.spec.layers, adapter.spec.prompts) == (2, 15)
    assert torch.equal(adapter.prompts.flatten(0, 1), tensors["adapter_query.weight"])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["adapter_query.weight", "layers.0.attention.gate"], "LLaMA-Adapter V1, text"),
        (["cap_adapter_query.weight", "visual_query.weight"], "LLaMA-Adapter V1, caption"),
        (["adapter_query.weight", "visual_query.weight"], "LLaMA-Adapter V2, CAPTION"),
        (
            ["adapter_query.weight", "visual_query.weight", "llama.layers.0.attention.wq.bias"],
            "LLaMA-Adapter V2, BIAS",
        ),
        (
            ["adapter_query.weight", "llma.layers.0.attention.lora_wq_l1.weight"]
            + ["llma.layers.0.attention.wq.bias"],
            "LLaMA-Adapter V2, LORA-BIAS",
        ),
        (["layers.0.attention.wq_scale", "layers.0.attention.wq_bias"], "LLaMA-Adapter V2, chat"),
        (
            ["prefix_query.weight", "llama.layers.0.attention.lora_wq_l1.weight"],
            "ImageBind-LLM",
        ),
        (["tok_embeddings.weight", "layers.0.attention.wq.weight"], ""),
        ([0, 1], ""),
    ],
)
def test_kinds_are_told_by_their_tensors(tiny_meta, tmp_path, names, kind):
    assert recognise(names) == kind
    if not kind.startswith("LLaMA-Adapter V1"):
        said = "some-file.pth' (is no adapter that|is LLaMA-Adapter V2, .* --clip|(lacks|holds) ')"
        path = save({"model": {name: torch.zeros(2) for name in names}, "config": {}}, tmp_path)
        with pytest.raises(CheckpointError, match=said):
            read_released(path, tiny_meta, "alpaca")


class RunsCode:
    """A pickle that would make a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran-code",)


@pytest.mark.matrix("A1", "A2")
def test_no_pickle_runs(tiny_meta, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "some-file.pth is not a plain PyTorch file of tensors, or it is damaged"
    with pytest.raises(CheckpointError, match=words):
        read_released(save(adapter_of() | {"args": RunsCode()}, tmp_path), tiny_meta, "alpaca")
    assert not Path("ran-code").exists()
    torch.save(adapter_of(), "some-file.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=words):
        read_released(Path("some-file.pth"), tiny_meta, "alpaca")
    monkeypatch.setattr(released, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match="no released adapter is"):
        read_released(save(adapter_of(), tmp_path), tiny_meta, "alpaca")


def test_files_that_were_there_before_keep_their_words(tiny_meta, tmp_path):
    paths = list((CHECKPOINTS / "adapters").glob("*.safetensors"))
    assert paths
    for path in paths:
        with safe_open(path, "numpy") as file:
            assert read_passport(path).to_json() == file.metadata()["passport"]
    _, passport = read_released(save(adapter_of(), tmp_path), tiny_meta, "alpaca")
    plain = replace(passport, origin=None)
    assert set(json.loads(plain.to_json())["spec"]) == set(
        json.loads(read_passport(paths[0]).to_json())["spec"]
    )
    for change in ({"gate": "sigmoid"}, {"gate": None}):
        raw = json.loads(passport.to_json())
        raw["spec"] |= change
        with pytest.raises(CheckpointError, match="adapter's gate is"):
            Passport.from_json(json.dumps(raw))
    raw = json.loads(passport.to_json())
    raw["origin"]["prompt"]["template"] = "haiku"
    with pytest.raises(CheckpointError, match="prompts are written as 'haiku'"):
        Passport.from_json(json.dumps(raw))
    for field in ("prompt", "sampling", "kind"):
        raw = json.loads(passport.to_json())
        raw["origin"][field] = 3
        with pytest.raises(CheckpointError, match="passport cannot be read"):
            Passport.from_json(json.dumps(raw))


def test_prompts_are_written_as_the_authors_did(base):
    text = (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nTell me about alpacas.\n\n### Response:"
    )
    tokenizer, turn = base.tokenizer, Message("user", "Tell me about alpacas.")
    ids = tokenizer.chat([turn], form=PromptForm("alpaca"))
    assert ids[1:] == tokenizer.encode_text(text)
    assert tokenizer.token(ids[0]) == "<|im_start|>"  # this base's begin token
    assert tokenizer.chat([turn], form=PromptForm("alpaca", bos=False)) == ids[1:]
    assert tokenizer.chat([turn]) != ids
    more = [turn, Message("assistant", "They hum."), Message("user", "Why?")]
    longer = tokenizer.decode(tokenizer.chat(more, form=PromptForm("alpaca")))
    assert longer.startswith(f"{text}They hum.")
    assert longer.endswith("\n\n### Instruction:\nWhy?\n\n### Response:")
    assert longer.count("Below is an instruction") == 1


def test_the_command_puts_an_adapter_among_the_others(tiny_meta, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(released, "open_base", lambda source, cache, progress: tiny_meta)
    path, out = save(adapter_of(), tmp_path), tmp_path / "adapters"
    out.mkdir()
    words = [str(path), "--llama", "7B", "--adapters", str(out), "--gate", "raw", "--out"]
    assert released.main([*words, "gorilla-tf"]) == 0
    assert "for 7B: 3 layers of 10 prompts, gates as they are" in capsys.readouterr().out
    adapter, passport = load_adapter(out / "gorilla-tf.safetensors")
    assert (passport.name, passport.spec.gate) == ("gorilla-tf", "raw")
    assert torch.equal(adapter.gate[-1], adapter_of()["layers.3.attention.gate"].flatten())
    before = (out / "gorilla-tf.safetensors").read_bytes()
    for name, said in (
        ("gorilla-tf", "There is an adapter 'gorilla-tf' already"),
        ("none", "name it in small letters"),
        ("../x", "name it in small letters"),
    ):
        assert released.main([*words, name]) == 2
        assert said in capsys.readouterr().err
    assert released.main(["no.pth", *words[1:], "other"]) == 2
    assert "There is no file 'no.pth'" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["gorilla-tf.safetensors"]
    assert (out / "gorilla-tf.safetensors").read_bytes() == before
