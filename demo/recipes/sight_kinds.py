"""What `sight` knows of a picture of each kind, from the tower's vocabulary."""

from collections.abc import Sequence

import torch
from torch import Tensor

from demo.recipes.concepts import drawing_concepts, photograph_concepts
from demo.recipes.scenes import COLOURS, SHAPES
from demo.recipes.sight_lessons import Known, Medium, scene_known
from demo.recipes.vocabulary import DRAWN, PHOTO, Vocabulary


def known_kinds(vocabulary: Vocabulary) -> tuple[Known, ...]:
    """What is known of a picture of each kind, by number."""
    concepts = [*photograph_concepts().values(), *drawing_concepts().values()]
    tops = {concept.top for concept in concepts}
    found = []
    for kind in vocabulary.kinds:
        words = kind.exact[0].split()
        if words[-1] in SHAPES and words[1] in COLOURS:
            found.append(scene_known(*words[1:]))
        else:
            top = next(word for word in kind.coarse if word in tops)
            medium: Medium = {PHOTO: "photo", DRAWN: "drawing"}.get(kind.medium, "")
            also = tuple(word for word in kind.coarse[1:] if word != top)
            found.append(Known(kind.exact, kind.coarse[0], top, also, medium))
    return tuple(found)


def same_group(kinds: Sequence[Known]) -> Tensor:
    """(K, K) fp32: 1 where two kinds belong to one group."""
    return torch.tensor([[a.group == b.group for b in kinds] for a in kinds]).float()
