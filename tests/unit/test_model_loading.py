"""How much memory a model needs, and what is said where there is less."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from demo.background_task import ProgressCallback
from demo.errors import InputError
from demo.llama.base import Base, open_base
from demo.llama.config import LlamaConfig
from demo.llama.int8 import file_plan
from demo.model_loading import (
    KV_MB,
    PROGRAM_BYTES,
    check_memory,
    compile_apart,
    kept_slots,
    load_language,
    token_bytes,
)
from demo.settings import Settings


def test_without_a_bound_one_conversation_fits_always_and_no_more_than_is_free(base: Base) -> None:
    config, weights = base.config, file_plan(base.config).size
    long = Settings(context=131_072)
    one = 2 * 2 * config.layers * config.kv_heads * config.head_dim * long.context
    assert kept_slots(config, long) == KV_MB * 2**20 // one > 1
    assert kept_slots(config, replace(long, kv_bits=32)) == KV_MB * 2**20 // (2 * one) > 1
    free = weights + PROGRAM_BYTES + 2 * one
    assert kept_slots(config, long, free) == 2
    wide = replace(config, layers=1000, head_dim=128)  # one conversation is more than the default
    assert kept_slots(wide, Settings(context=2048)) == 1


def test_memory_that_does_not_do_is_said_before_anything_is_converted(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    def check(free: int, **fields: int) -> Callable[[LlamaConfig], None]:
        return lambda config: check_memory(config, Settings(**fields), free)

    with pytest.raises(InputError) as caught:
        open_base(str(tiny), tiny_cache, no_progress, check(400 * 2**20, context=131_072))
    message = str(caught.value)
    assert "30 MB for one conversation of 131,072 tokens, 384 MB for the program. 400" in message
    assert "or start with --context" in message
    assert not list(tiny_cache.glob("*/*.safetensors"))
    with pytest.raises(InputError, match=r"16 MB are free\. Free some, choose a smaller model"):
        open_base(str(tiny), tiny_cache, no_progress, check(16 * 2**20))
    open_base(str(tiny), tiny_cache, no_progress, check(2**30))


def test_seven_billion_start_with_defaults_on_sixteen_gigabytes() -> None:
    check_memory(LLAMA_7B, Settings(), 12 * 2**30)
    assert kept_slots(LLAMA_7B, Settings(), 12 * 2**30) == 1
    check_memory(LLAMA_7B, Settings(), 8 * 2**30)
    with pytest.raises(InputError) as caught:
        check_memory(LLAMA_7B, Settings(kv_bits=32), 8 * 2**30)
    assert str(caught.value) == (
        "This model needs 8,864 MB of memory: 6,432 MB for its weights in 8 bits, 2,048 MB for one "
        "conversation of 2,048 tokens, 384 MB for the program. 8,192 MB are free. Free some, or "
        "start with --context 1344."
    )
    with pytest.raises(InputError, match=r"7,840 MB of memory: .* 1,024 MB for one conversation"):
        check_memory(LLAMA_7B, Settings(), 7 * 2**30)
    assert KV_MB * 2**20 // token_bytes(LLAMA_7B, 16) == 2048


LLAMA_7B = LlamaConfig(32, 4096, 32, 32, 128, 11008, 32_000, 1e-6, 10_000.0, 2048, tied=False)


@pytest.mark.compiles
def test_kernels_are_compiled_in_a_process_of_its_own(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_base(str(tiny), tiny_cache, no_progress)
    settings = Settings(llama=str(tiny), cache=tiny_cache, context=64)
    asked: list[Settings] = []

    def compile_and_note(settings: Settings) -> bool:
        asked.append(settings)
        return compile_apart(settings)

    monkeypatch.setattr("demo.model_loading.compile_apart", compile_and_note)
    load_language(settings, no_progress).scheduler.close()  # what is compiled lies there
    asked.clear()
    for uncompiled, free, times in ((False, 2**40, 0), (True, 2**30, 0), (True, 2**40, 1)):
        monkeypatch.setattr("demo.llama.decoder.drop_stale", lambda cache, new=uncompiled: new)
        monkeypatch.setattr("demo.model_loading.available", lambda free=free: free)
        load_language(settings, no_progress).scheduler.close()
        assert asked == [settings] * times
    assert compile_apart(settings)


def test_a_process_that_compiles_and_fails_is_no_fault(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not compile_apart(Settings(llama=str(tmp_path / "none"), cache=tmp_path))
    assert "CheckpointError" in capfd.readouterr().err


def test_where_no_process_can_be_begun_the_program_compiles_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(process: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", refuse)
    assert not compile_apart(Settings())
