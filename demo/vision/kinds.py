"""What an adapter can look at: names that its file and the tower agree on.

Apart from the tower, because a folder of adapters is listed before torch is there.
"""

from typing import Literal, get_args

# `global-mlp` and `key-value-memory` take one vector of a whole picture, `query-resampler` the
# tokens of its patches.
Kind = Literal["global-mlp", "query-resampler", "key-value-memory"]
KINDS: tuple[Kind, ...] = get_args(Kind)
