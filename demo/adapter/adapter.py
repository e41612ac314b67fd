"""An adapter: prompts, gates and a visual projection, and the prefix they give a frozen base.

LLaMA-Adapter, arXiv 2303.16199, sections 3.1 to 3.3. Sizes: L adapted layers, K prompts a layer,
D model width, H heads, B pictures (1 when there is none), S visual feature size (`Tower.seen` of
the kind that the spec's projection has).
"""

import torch
from torch import Tensor, nn

from demo.adapter.spec import AdapterSpec
from demo.adapter.visual import projection
from demo.llama.model import Llama, Prefix


class Adapter(nn.Module):
    """What is trained on top of a frozen base.

    `prompts` (L, K, D) start as N(0, 1), `gate` (L, H) at zero: an untrained adapter leaves the
    base's output exactly as it is, and the gates open as they learn (zero-init attention).
    """

    def __init__(self, spec: AdapterSpec) -> None:
        super().__init__()
        self.spec = spec
        self.prompts = nn.Parameter(torch.randn(spec.layers, spec.prompts, spec.width))
        self.gate = nn.Parameter(torch.zeros(spec.layers, spec.heads))
        self.visual = projection(spec.visual, spec.width) if spec.visual else None

    def prefix(
        self, model: Llama, features: Tensor | None = None, *, strength: float = 1.0
    ) -> Prefix:
        """The adapter's prefix for pictures of features (B, S), or without any.

        Differentiable in the adapter. A prefix is a value: nothing is kept here, so it can neither
        go stale nor cut a gradient. `strength` multiplies tanh(gate); 0 is the base.
        """
        seen = torch.zeros(1, 1, self.spec.width, device=self.prompts.device)
        if features is not None:
            if self.visual is None:
                raise ValueError("an adapter without a visual projection was given a picture")
            features = features.to(self.prompts.device)  # towers give them on the CPU
            seen = self.visual(features)  # (B, D) for all prompts alike, or (B, K or 1, D)
            seen = seen if seen.ndim == 3 else seen[:, None]
        first = model.config.layers - self.spec.layers
        pairs = [
            model.prompt_keys_values(first + i, self.prompts[i] + seen)
            for i in range(self.spec.layers)
        ]
        keys, values = zip(*pairs, strict=True)
        gate = strength * torch.tanh(self.gate)
        return Prefix(torch.stack(keys).float(), torch.stack(values).float(), gate)

    @torch.inference_mode()
    def fixed_prefix(
        self, model: Llama, features: Tensor | None = None, *, strength: float = 1.0
    ) -> Prefix:
        """`prefix` for a reply: not differentiable, and on one thread.

        It is a hundred small steps. Shared by threads, each would wait for the slowest of them, and
        beside a busy process that made some 400 ms of 8.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.prefix(model, features, strength=strength)
        finally:
            torch.set_num_threads(threads)
