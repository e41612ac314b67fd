"""What an adapter can look at: names that its file and the tower agree on.

Apart from the tower, because a folder of adapters is listed before torch is there.
"""

from typing import Literal, get_args

# `global-mlp` takes one vector of a whole picture, `key-value-memory` the mean of four looks at it,
# `query-resampler` the tokens of its patches.
Kind = Literal["global-mlp", "query-resampler", "key-value-memory"]
KINDS: tuple[Kind, ...] = get_args(Kind)
