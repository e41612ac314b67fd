"""The embedded tower with its text half, which says how sure it is of a kind."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.spec import Kind as ProjectionKind
from demo.recipes.sight_kinds import known_kinds, same_group
from demo.recipes.vocabulary import Vocabulary
from demo.recipes.zero_shot import embed_texts
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.tower_files import FOLDER, LOCAL

SHARPNESS = tuple(1.1**n for n in range(-8, 17))  # that may be right, as factors of the tower's own


class Eyes:
    """The embedded tower with its text half, which says how sure it is of a kind."""

    def __init__(
        self, checkpoints: Path, vocabulary: Vocabulary, projection: ProjectionKind
    ) -> None:
        import open_clip  # here, because it takes seconds

        self.tower = Tower.load(None, torch.device("cpu"), checkpoints)
        self.projection = projection
        folder = f"{LOCAL}{checkpoints / FOLDER}"
        model, tokenize = open_clip.create_model(folder).eval(), open_clip.get_tokenizer(folder)
        captions = [kind.exact[0] for kind in vocabulary.kinds]
        scale = model.logit_scale.detach().exp()
        self._texts = scale * embed_texts(model, tokenize, captions)  # (K, D)
        self._together = same_group(known_kinds(vocabulary))  # (K, K)

    def look(self, shown: Sequence[Picture], kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, S) fp16, and how probable the kinds (B,) and their groups are, (B,) each."""
        features, embeddings = self.tower.batch_with_embeddings(shown, self.projection)
        chances = (embeddings @ self._texts.T).softmax(1)  # (B, K)
        known = kinds.clamp(min=0)
        fine = chances.gather(1, known[:, None])[:, 0]
        coarse = (chances * self._together[known]).sum(1)
        return features.half(), fine * (kinds >= 0), coarse * (kinds >= 0)

    def calibrate(self, shown: Sequence[Picture], kinds: Tensor) -> float:
        """Makes probabilities as sharp as fits those pictures best → by which factor.

        A tower whose captions had smoothed targets is right more often than it says.
        """
        logits = self.tower.embeddings(shown) @ self._texts.T  # (B, K)
        best = min(SHARPNESS, key=lambda factor: float(F.cross_entropy(factor * logits, kinds)))
        self._texts = best * self._texts
        return best
