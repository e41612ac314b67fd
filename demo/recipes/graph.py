"""A step on a GPU recorded once and replayed, so that its thousand launches cost one."""

from collections.abc import Callable

import torch
from torch import Tensor

BEFORE = 3  # runs before the recording: libraries choose kernels, optimizers make their state


class Replayed:
    """Calls `step` with other numbers in tensors of the same shapes.

    It is run some times with the first ones before it is recorded. All that differs from call to
    call must be in `inputs`, or in tensors that keep their place, and nothing may wait for the GPU.
    """

    def __init__(self, step: Callable[..., Tensor], *inputs: Tensor) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(BEFORE):
                step(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return self._output.clone()
