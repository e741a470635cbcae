"""Models of transformers, from the hub or a folder; every fault is a one-line error."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from car_core.errors import ModelError
from car_core.models.checkpoints import require_weights_file
from car_core.models.downloads import cached_file, require_hub
from car_core.models.torchvision_guard import declare_missing_ops
from car_core.models.weights import WeightsRecord, build_seeded, state_hash
from car_core.names import random_seed
from support.console import is_terminal, quiet_log
from support.files import expanded

_WEIGHTS_FILES = tuple(
    f"{name}{index}" for name in ("model.safetensors", "pytorch_model.bin") for index in ("", ".index.json")
)
_OLDEST = "5.0"  # what the extra `sam` requires


def pretrained(role: str, name: str, classes: Mapping[str, str], expected: str, tiny: Callable[[Any], Any]) -> Any:
    """The model of a name on the hub or of a folder written by ``save_pretrained``; ``tiny`` with random weights for
    random:SEED.

    classes: transformers' class for each model type of a configuration. expected: the kinds of model, in words. tiny:
    builds a small model for trials from the package. Raises ModelError, beginning with the role, also if transformers
    is absent or too old to have the classes.
    """
    declare_missing_ops()
    try:
        import transformers as library
    except ImportError:
        raise ModelError(
            f"{role}: expected the package transformers, found none; pip install 'car-eval[sam]'"
        ) from None
    if any(not hasattr(library, kind) for kind in classes.values()):
        found = library.__version__
        raise ModelError(f"{role}: expected transformers >= {_OLDEST}, found {found}; pip install -U 'car-eval[sam]'")
    if (seed := random_seed(name, role)) is not None:
        return build_seeded(seed, lambda: tiny(library))
    folder = expanded(name)
    try:
        if name.startswith(("/", ".", "~")) and not folder.exists():
            raise ValueError("no such folder")
        name = str(folder)
        if folder.is_file():
            raise ValueError("a file, where transformers' folder is expected (the authors' own .pth must be converted)")
        # Neither a folder nor a model that is completely in the hub's cache needs a network.
        is_here = folder.exists() or all(cached_file(name, files) for files in (("config.json",), _WEIGHTS_FILES))
        if not is_here:
            require_hub(name, f"{role.upper()}'s weights")
        for file in folder.glob("*") if folder.is_dir() else ():
            if file.suffix in (".safetensors", ".bin"):
                require_weights_file(file)
        with quiet_log("huggingface_hub"), quiet_log("transformers"), _bars_at_terminals_only(library):
            found = library.AutoConfig.from_pretrained(name, local_files_only=is_here).model_type
            if found not in classes:
                raise ValueError(f"a model of the type {found}")
            kind = getattr(library, classes[found])
            options = {"local_files_only": is_here, "weights_only": True, "output_loading_info": True}
            model, report = kind.from_pretrained(name, **options)
        for what in ("missing", "unexpected", "mismatched"):
            if keys := sorted(map(str, report[f"{what}_keys"])):
                some = ", ".join(keys[:3])
                raise ValueError(f"{len(keys)} {what} parameters of {kind.__name__} in its file ({some}, ...)")
        return model
    except Exception as error:  # hub, files and formats fail in many ways, which all mean the same to the caller
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, (ConnectionError, TimeoutError)):
            reason = f"no such folder, none in the hub's cache, and no answer from the hub ({type(error).__name__})"
        if status := _refusal(error):
            page = f"https://huggingface.co/{name}"
            reason = f"weights that the hub does not give out ({status}): accept their license at {page} and log in "
            reason += "(hf auth login)"
        raise ModelError(f"{role}: expected {expected} at {name!r}, found: {reason}") from None


def record_of(role: str, name: str, model: Any, parts: Sequence[str]) -> WeightsRecord:
    """The record of a model's weights; ``parts`` of its configuration are its architecture."""
    is_random = name.startswith("random:")
    # Identities and cache keys contain the version of transformers separately.
    fields = {part: _without(getattr(model.config, part).to_diff_dict(), "transformers_version") for part in parts}
    plain = json.dumps([type(model).__name__, fields], sort_keys=True, default=str)
    architecture = hashlib.sha256(plain.encode()).hexdigest()
    shown = name if is_random or not expanded(name).exists() else expanded(name).name
    return WeightsRecord(role, type(model).__name__, architecture, shown, state_hash(model), trained=not is_random)


def _refusal(error: BaseException | None) -> int | None:
    """The HTTP status with which the hub refuses weights to this user; None for other errors."""
    while error:
        is_unknown = isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
        if isinstance(error, HfHubHTTPError) and not is_unknown and error.response.status_code in (401, 403):
            return int(error.response.status_code)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _bars_at_terminals_only(library: Any) -> Iterator[None]:
    if hide := library.logging.is_progress_bar_enabled() and not is_terminal(sys.stderr):
        library.logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            library.logging.enable_progress_bar()


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    nested = {key: _without(value, name) if isinstance(value, dict) else value for key, value in fields.items()}
    return {key: value for key, value in nested.items() if key != name}
