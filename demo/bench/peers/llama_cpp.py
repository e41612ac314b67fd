"""llama.cpp as a peer, through llama-cpp-python, on a Q8_0 file of the same weights."""

import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np

from demo.llama.weights.download import embedded_gguf
from demo.settings import Settings

MOST = 8  # sequences in one batch


def q8_0(cache: Path) -> Path:
    """Return the path of the embedded weights as Q8_0, made once by llama.cpp itself."""
    path = cache / "bench" / "embedded-q8_0.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
        options.allow_requantize = True
        unfinished = path.with_suffix(".part")
        with embedded_gguf(lambda message, share: None) as source:
            failed = llama_cpp.llama_model_quantize(
                str(source).encode(), str(unfinished).encode(), options
            )
        if failed:
            raise SystemExit("llama.cpp could not make its Q8_0 file.")
        unfinished.replace(path)
    return path


class LlamaCpp:
    """Its batch interface: all sequences advance in one call."""

    def __init__(self, settings: Settings) -> None:
        llama_cpp.llama_log_set(_quiet, None)
        self._model = llama_cpp.llama_model_load_from_file(
            str(q8_0(settings.cache)).encode(), llama_cpp.llama_model_default_params()
        )
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch = settings.context, 512
        options.n_threads = options.n_threads_batch = settings.threads
        options.n_seq_max, options.kv_unified = MOST, True
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        if not self._context:
            raise SystemExit("llama.cpp could not load its Q8_0 file.")
        self._vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(512, 0, MOST)

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Return the seconds for `count` tokens of each sequence."""
        self._clear()
        tokens = []
        for sequence in range(batch):
            self._run(ids, range(len(ids)), [sequence] * len(ids))
            tokens.append(self._best(-1))
        start = time.perf_counter()
        for step in range(count):
            places = [len(ids) + step] * batch
            self._run(tokens, places, range(batch), all_logits=True)
            tokens = [self._best(row) for row in range(batch)]
        return time.perf_counter() - start

    def prefill(self, ids: list[int]) -> float:
        """Return the seconds for one prompt."""
        self._clear()
        start = time.perf_counter()
        self._run(ids, range(len(ids)), [0] * len(ids))
        self._best(-1)
        return time.perf_counter() - start

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _run(
        self,
        tokens: Sequence[int],
        places: Sequence[int],
        sequences: Sequence[int],
        *,
        all_logits: bool = False,
    ) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, row in enumerate(zip(tokens, places, sequences, strict=True)):
            batch.token[i], batch.pos[i], batch.seq_id[i][0] = row
            batch.n_seq_id[i] = 1
            batch.logits[i] = all_logits or i == len(tokens) - 1
        if llama_cpp.llama_decode(self._context, batch):
            raise SystemExit("llama.cpp could not decode.")

    def _best(self, row: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, (self._vocab,)).argmax())


@llama_cpp.llama_log_callback
def _quiet(level: int, text: bytes, user: object) -> None:
    """Its log is no part of a benchmark."""
