"""open_clip's contrastive loss, told which captions are true of which pictures."""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from open_clip import ClipLoss


def multi_positive_loss(
    clip_loss: "ClipLoss", images: Tensor, texts: Tensor, scale: Tensor, true: Tensor
) -> Tensor:
    """CLIP's symmetric cross-entropy with every true pair as a target, not the diagonal alone.

    A batch of 128 scenes of 24 kinds holds each caption several times. CLIP's loss would push a
    teal triangle away from the caption of the next teal triangle; here the target of a row is
    spread evenly over all that is true of it (UniCL, arXiv 2204.03610, section 3.2). With one true
    caption a picture it is `clip_loss` exactly.

    Args:
        clip_loss: gives the scaled similarities.
        images: (B, D) unit vectors.
        texts: (T, D) unit vectors of the batch's different captions.
        scale: the temperature's inverse, a scalar.
        true: (B, T) bool, caption t is true of picture b; no row or column is all False.
    """
    by_image, by_text = clip_loss.get_logits(images, texts, scale)  # (B, T), (T, B)
    target = true.float()
    image_loss = F.cross_entropy(by_image, target / target.sum(1, keepdim=True))
    text_loss = F.cross_entropy(by_text, target.T / target.T.sum(1, keepdim=True))
    return (image_loss + text_loss) / 2
