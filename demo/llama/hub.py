"""A model from the Hugging Face Hub, by its id."""

from pathlib import Path

from demo.errors import FetchError

# What a conversion reads: never a pickle, never code.
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]


def fetch_snapshot(repository: str) -> Path:
    """The folder of a model's newest snapshot, fetched or already here.

    Args:
        repository: "organisation/name".

    Raises:
        FetchError: it does not exist, needs a login, or the Hub cannot be reached.
    """
    # Imported here: a start on a local or the embedded base never needs it.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=PATTERNS))
    # The library's errors are many and share no root that OSError and ValueError would not also be.
    except Exception as error:
        reason = _reason(error)
        raise FetchError(
            f"{repository} could not be fetched from the Hugging Face Hub: {reason}. Check the id "
            "and the network, or download the model and start with --llama FOLDER."
        ) from error


def _reason(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its owner asks you to accept a licence there and to log in with 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model, or it is private"
    return "the Hub did not answer"
