"""The errors a visitor may see.

Every message says what happened, what was expected and what to do next, and holds nothing that a
stranger should not read: no path of the server, no address, no text of a library. Whatever is not a
`DemoError` is logged and shown as one neutral sentence.
"""


class DemoError(Exception):
    """Root of all errors whose text may be shown to a visitor as it is."""


class InputError(DemoError):
    """A message, a setting or a picture that cannot be used as it came."""


class ImageError(InputError):
    """Bytes that are not a picture we open."""


class VideoError(InputError):
    """Bytes that are not a video we open."""


class DataError(InputError):
    """A data set, or a row of one, that cannot be read or has nothing to teach."""


class CheckpointError(DemoError):
    """Weights or an adapter that do not fit, are cut off, or are of another kind."""


class FetchError(DemoError):
    """Something that had to come over the network did not."""


class BusyError(DemoError):
    """The model has more to do than it may queue, or this conversation is being answered."""


class NotReadyError(DemoError):
    """The model failed to load, so nothing can be answered."""


class ContextFullError(DemoError):
    """The conversation no longer fits the model's window.

    Args:
        used: tokens that the conversation and the room kept for the reply would need.
        limit: tokens the window holds.
    """

    def __init__(self, used: int, limit: int) -> None:
        self.used, self.limit = used, limit
        super().__init__(
            f"This conversation needs {used:,} tokens and the model's window holds {limit:,}. "
            "Continue without the oldest turns, ask for a shorter reply, or start a new chat."
        )
