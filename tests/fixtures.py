"""Fixtures that several tests share: the embedded base, opened once, and small random LLaMAs."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.background_task import ProgressCallback
from demo.errors import CheckpointError
from demo.llama.base import Base, open_base
from demo.llama.tokenizer.chat_template import TemplateSpan
from demo.llama.tokenizer.tokenizer import Tokenizer as ModelTokenizer
from demo.settings import Settings, default_cache

if TYPE_CHECKING:
    from demo.llama.model import Llama

TEXT = "the quick brown fox jumps over the lazy dog and says hello to 12 other animals"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ODD_SIZES: dict[str, Any] = {  # no two sizes alike, and heads that do not fill the width
    "num_hidden_layers": 3,
    "hidden_size": 36,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 50,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
REGISTER_SIZES = {  # matrices fill whole registers, as matrix instructions want them
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 192,
}


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    """Tests call kernels directly, so what an older version has compiled goes first."""
    from demo.llama.kernels.compile import drop_stale
    from demo.llama.kernels.decode import decode_step

    drop_stale(Path(decode_step.stats.cache_path))


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    """Imported once a test asks for it: it takes seconds, and not every process needs it."""
    import open_clip

    return open_clip


@pytest.fixture(scope="session")
def no_progress() -> ProgressCallback:
    """For tests that do not look at it."""
    return lambda message, share: None


@pytest.fixture(scope="session")
def base_cache() -> Path:
    """The cache folder that the program itself uses, so the embedded base is converted once."""
    return default_cache()


@pytest.fixture(scope="session")
def embedded_base(base_cache: Path, no_progress: ProgressCallback) -> Base:
    """The embedded base, real weights."""
    return open_base(None, base_cache, no_progress)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """A real byte-level BPE of some 300 ids with ChatML's control tokens as 0 to 2."""
    return make_tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_llama_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Tokenizer
) -> Callable[..., Path]:
    """`make(seed=0, shard_size="1GB", **sizes)` → a folder as transformers saves a LLaMA."""

    def make(seed: int = 0, shard_size: str = "1GB", **sizes: Any) -> Path:
        folder = tmp_path_factory.mktemp("llama")
        make_tiny_llama(folder, tiny_tokenizer, seed=seed, shard_size=shard_size, **sizes)
        return folder

    return make


@pytest.fixture(scope="module")
def run_settings(
    tiny_llama_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Of a program that trains in processes of its own, on a small random LLaMA."""
    folder = tiny_llama_folder(max_position_embeddings=1024)
    cache = tmp_path_factory.mktemp("cache")
    return Settings(llama=str(folder), cache=cache, device="cpu", threads=1)


def encode_template(tokenizer: ModelTokenizer, text: str) -> list[int]:
    """Encode a template's own text, in which control tokens are known by their spelling."""
    return tokenizer.encode([TemplateSpan(text, trusted=True)])


def make_tiny_tokenizer() -> Tokenizer:
    """Train the tokenizer that `tiny_tokenizer` gives."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[AddedToken(text, special=True) for text in controls],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 8, trainer)
    return tokenizer


def make_tiny_llama(
    folder: Path, tokenizer: Tokenizer, *, seed: int = 0, shard_size: str = "1GB", **sizes: Any
) -> None:
    """Save a random LLaMA into a folder as transformers does; `sizes` replace the odd ones."""
    # Imported here: transformers takes seconds, and many tests do without.
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocab = tokenizer.get_vocab_size()
    fields = {**ODD_SIZES, "vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, **sizes}
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**fields))
    with torch.no_grad():
        for name, value in model.named_parameters():
            # Larger than a fresh model's, so that attention is not flat; norms not all one.
            value.copy_(torch.randn_like(value) * 0.2 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="session")
def base(
    tiny_llama_folder: Callable[..., Path],
    no_progress: ProgressCallback,
    tmp_path_factory: pytest.TempPathFactory,
) -> Base:
    """A small random LLaMA in 8 bits; no two of its sizes are alike. Not to be changed."""
    return open_base(str(tiny_llama_folder()), tmp_path_factory.mktemp("cache"), no_progress)


@pytest.fixture(scope="session")
def model(base: Base) -> "Llama":
    """The small base, computing in fp32 over 128 positions. Not to be changed."""
    import torch

    from demo.llama.int8 import Int8Linear
    from demo.llama.model import Llama

    return Llama(base.config, base.weights, Int8Linear(torch.float32), 128)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Work this small is done before a second thread has woken, and sums depend on their number."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sharded_llama(tiny_llama_folder: Callable[..., Path]) -> Path:
    """A model in several files, not to be changed."""
    return tiny_llama_folder(shard_size="60KB")


@pytest.fixture
def tiny(sharded_llama: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage, of a model in several files."""
    return Path(shutil.copytree(sharded_llama, tmp_path / "tiny"))


@pytest.fixture
def tiny_cache(tmp_path: Path) -> Path:
    """A cache folder of the test's own."""
    return tmp_path / "cache"


@pytest.fixture
def refusal(tiny_cache: Path, no_progress: ProgressCallback) -> Callable[[Path], str]:
    """Opens what must be refused, checks that nothing was left behind, gives the message."""

    def check(path: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            open_base(str(path), tiny_cache, no_progress)
        assert not list(tiny_cache.glob("*/*.safetensors"))
        assert not list(tiny_cache.glob("*/.*.part"))
        assert str(path.parent) not in str(caught.value)  # no path of this machine
        return str(caught.value)

    return check
