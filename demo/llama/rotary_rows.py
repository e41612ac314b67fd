"""The two orders of rotary pairs in the rows of W_q and W_k."""

from torch import Tensor


def half_split(matrix: Tensor, heads: int) -> Tensor:
    """Rows of q or k from Meta's order to Hugging Face's.

    Meta and llama.cpp turn neighbours (2i, 2i + 1) of a head together, Hugging Face i and i + d/2.

    Args:
        matrix: (heads * d, ...), any trailing shape, so a bias will do.
        heads: query heads for q, key-value heads for k.

    Source: `permute` of transformers' `convert_llama_weights_to_hf.py`.
    """
    half = matrix.shape[0] // heads // 2
    return matrix.unflatten(0, (heads, half, 2)).transpose(1, 2).reshape(matrix.shape)
