"""The slopes that a training step of the embedded base begins with, against autograd over fp32."""

import pytest
import torch
from torch.nn import functional as F

from demo.llama.base import Base, load_llama
from demo.llama.training import make_head

TEXT = """The keeper of the light went up before dark. Nobody had told him that a ship was due, and
in the fog he heard its bell long before he saw a mast. He counted to ten, lit the lamp, and sat
down to write in the book what the wind had done since noon."""


@pytest.mark.parametrize("learned", [0, 0.2])
def test_loss_and_slopes(embedded_base: Base, learned: float) -> None:
    model = load_llama(embedded_base, torch.device("cpu"), 256)
    ids = torch.tensor([embedded_base.tokenizer.encode_text(TEXT)])
    labels, exact_rows = ids[0, 1:], model.weights.output.dequantised()
    with torch.no_grad():
        hidden = model.forward(ids[:, :-1])[0]
        # Towards its label's row, as if it was taught: 0.2 makes nearly all of them certain.
        aim = F.normalize(exact_rows[labels], dim=1) * hidden.norm(dim=1, keepdim=True)
        hidden = hidden + learned * aim
    mine, exact = (hidden.clone().requires_grad_() for _ in range(2))
    loss = make_head(model).cross_entropy(mine, labels).mean()
    expected = F.cross_entropy(exact @ exact_rows.T, labels)
    loss.backward()
    expected.backward()
    off = ((mine.grad - exact.grad).norm() / exact.grad.norm()).item()
    print(f"loss {loss.item():.5f} nats, fp32 {expected.item():.5f}, slopes off by {off:.5f}")
    assert loss.item() == pytest.approx(expected.item(), abs=2e-4)
    assert off < 2e-3
