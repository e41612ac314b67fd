"""What several tests share: the embedded base, opened once, and small random LLaMAs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from xdist.remote import Producer

from demo.errors import CheckpointError
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.convert import Progress
from demo.settings import default_cache
from tests.lanes import Lanes, turn

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is waited for begins first."""
    items.sort(key=lambda item: turn(item.nodeid))


def pytest_xdist_setupnodes() -> None:
    """Threads of one process that wait do not keep the other from the core."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """Two processes share the tests; `-n 0` runs them in one."""
    return Lanes(config, log)


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    """Tests call kernels directly, so what an older version has compiled goes first."""
    from demo.llama.compiled import drop_stale
    from demo.llama.kernel import step

    drop_stale(Path(step.stats.cache_path))


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    """Imported once a test asks for it: it takes seconds, and not every process needs it."""
    import open_clip

    return open_clip


@pytest.fixture(scope="session")
def no_progress() -> Progress:
    """For tests that do not look at it."""
    return lambda message, share: None


@pytest.fixture(scope="session")
def base_cache() -> Path:
    """The cache folder that the program itself uses, so the embedded base is converted once."""
    return default_cache()


@pytest.fixture(scope="session")
def base(base_cache: Path, no_progress: Progress) -> Base:
    """The embedded base, real weights."""
    return open_base(None, base_cache, no_progress)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """A real byte-level BPE of some 300 ids with ChatML's control tokens as 0 to 2."""
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


@pytest.fixture(scope="session")
def tiny_llama_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Tokenizer
) -> Callable[..., Path]:
    """`make(seed=0, shard_size="1GB", **sizes)` → a folder as transformers saves a LLaMA."""

    def make(seed: int = 0, shard_size: str = "1GB", **sizes: Any) -> Path:
        # Imported here: transformers takes seconds, and many tests do without.
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        folder = tmp_path_factory.mktemp("llama")
        vocab = tiny_tokenizer.get_vocab_size()
        fields = {**ODD_SIZES, "vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, **sizes}
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**fields))
        with torch.no_grad():
            for name, value in model.named_parameters():
                # Larger than a fresh model's, so that attention is not flat; norms not all one.
                value.copy_(torch.randn_like(value) * 0.2 + (1.0 if "norm" in name else 0.0))
        model.save_pretrained(folder, max_shard_size=shard_size)
        tiny_tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"eos_token": "<|im_end|>", "chat_template": CHAT_TEMPLATE}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return make


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
def refusal(tiny_cache: Path, no_progress: Progress) -> Callable[[Path], str]:
    """Opens what must be refused, checks that nothing was left behind, gives the message."""

    def check(path: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            open_base(str(path), tiny_cache, no_progress)
        assert not list(tiny_cache.glob("*/*.safetensors"))
        assert not list(tiny_cache.glob("*/.*.part"))
        assert str(path.parent) not in str(caught.value)  # no path of this machine
        return str(caught.value)

    return check
