"""Weights files in every form that users have, read without running code in them, and fitted to a model.

safetensors, torch's archives and pickles, TorchScript archives (OpenAI's own files); tensors at the top level or inside
other entries (``state_dict``, ``model``); names with prefixes (``module.``, ``_orig_mod.``, ``model.``) or Hugging
Face's. The contents determine the format, not the ending of the name.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from car_core.errors import ModelError
from support.files import open_regular

# Last parts of names that are stored with weights but are not weights.
_NO_WEIGHTS = {"attn_mask", "position_ids"}
# Files that are often found in place of weights, by their first bytes.
_OTHER_FILES = {
    b"version https://git-lfs": "a git-lfs pointer, not the file itself (git lfs pull fetches it)",
    b"<": "an HTML or XML page, as a failed download leaves it",
    b"{": "JSON text",
    b"\x1f\x8b": "a gzip archive (unpack it)",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"GGUF": "a GGUF file",
}
_MOST_HEADER = 100_000_000  # bytes of a safetensors header, by its specification
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_STORAGES = {
    "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16, "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def load_weights(model: nn.Module, path: Path, *, ignored: Collection[str] = ()) -> set[str]:
    """Load the tensors of a file into a float32 model: each of the model's, in its shape, finite, and no others.

    ignored: names in the file that need not be the model's. Returns those of them that were found. Raises ValueError
    with one line that says what was found instead.
    """
    expected = model.state_dict()
    try:
        state = _state_for(expected, _read(path))
    except (OSError, ValueError):
        raise
    except zipfile.BadZipFile:
        raise ValueError("a damaged ZIP archive, e.g. of an interrupted download") from None
    except Exception as error:  # readers of damaged files raise many types, which all mean the same to the caller
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    found = {name for name in state if name in ignored}
    state = {
        name: value.reshape(expected[name].shape) if name in expected and value.numel() == 1 else value
        for name, value in state.items()
        if name in expected or not (name in ignored or name.rpartition(".")[2] in _NO_WEIGHTS)
    }
    if reason := _misfit(expected, state):
        raise ValueError(reason)
    with torch.no_grad():
        model.load_state_dict(state)
    if name := non_finite(model):
        raise ValueError(f"NaN or infinity in {name}")
    return found


def non_finite(model: nn.Module) -> str | None:
    """The first weight of a model with NaN or infinity; None if all numbers are finite."""
    # A sum is finite only if all its numbers are. It takes a tenth of the time, but may overflow.
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not (value.sum().isfinite() or value.isfinite().all()):
            return name
    return None


def require_finite(model: nn.Module, name: str) -> None:
    """Raise ModelError, beginning with the model's name, for weights with NaN or infinity."""
    if weight := non_finite(model):
        raise ModelError(f"{name}: expected finite weights, found NaN or infinity in {weight}")


def _misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Why a state does not fit the model; empty if it does."""
    reasons = []
    for what, names in (
        (f"{{}} of {len(expected)} parameters missing", [name for name in expected if name not in state]),
        ("{} unexpected", [name for name in state if name not in expected]),
    ):
        if names:
            reasons.append(f"{what.format(len(names))} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})")
    for name, value in state.items():
        if name in expected and value.shape != expected[name].shape:
            reasons.append(f"{name} of the shape {list(value.shape)} in place of {list(expected[name].shape)}")
            break
        if name in expected and expected[name].is_floating_point() and value.dtype not in _FLOATS:
            reasons.append(f"{name} in {value.dtype}, which is not a plain floating-point type")
            break
        if value.layout != torch.strided or value.is_meta:
            reasons.append(f"{name} sparse or without its numbers")
            break
    return "; ".join(reasons)


def require_weights_file(path: Path) -> bytes:
    """The first bytes of a file. Raises ValueError, naming the kind of file, for one that is often found in place of
    weights."""
    with open_regular(path) as stream:
        head = stream.read(512)
    if not head.strip(b"\0"):
        raise ValueError("nothing but zeros at its start" if head else "an empty file (0 bytes)")
    if not _is_safetensors(head):
        for start, name in _OTHER_FILES.items():
            if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start):
                raise ValueError(name)
    return head


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MOST_HEADER


def _read(path: Path) -> Any:
    """The contents of a file: tensors by name, perhaps inside other entries."""
    head = require_weights_file(path)
    if _is_safetensors(head):
        return load_file(path, device="cpu")
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next((name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")), None)
            if root is None:
                raise ValueError("a ZIP archive of other files (unpack it)")
            if archive.testzip():  # torch ignores a wrong checksum
                raise zipfile.BadZipFile
            if f"{root}constants.pkl" in names:
                return _ScriptReader(archive, root).read()
    try:
        with path.open("rb") as stream, warnings.catch_warnings():  # a path would be read by the ending of its name
            warnings.simplefilter("ignore")  # of pickles of other protocols
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # files that are not pickles fail in many ways
        if isinstance(error, pickle.UnpicklingError) and (named := re.search(r"GLOBAL ([\w.]+)", str(error))):
            raise ValueError(
                f"pickled objects of the type {named[1]}, whose code is not run (files are read with weights_only); "
                "save the model's state_dict(), as .safetensors or with torch.save"
            ) from None
        raise ValueError(f"no weights that torch.load reads with weights_only; it begins with {head[:24]!r}") from None


class _ScriptModule:
    """A module of a TorchScript archive: only its attributes."""


class _ScriptReader(pickle.Unpickler):
    """Reads the tensors of a TorchScript archive by name. Nothing that the archive names is imported or run."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}data.pkl"))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def read(self) -> dict[str, Tensor]:
        return dict(_named_tensors(self.load()))

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _ScriptModule
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":  # type marks around lists
            return lambda value, *_: value
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: storage.as_strided(size, stride, offset)
        raise ValueError(f"a TorchScript archive with {module}.{name}, which is not read; save its state_dict()")

    def persistent_load(self, identifier: Any) -> Tensor:
        _, dtype, key, *_ = identifier
        if key not in self._storages:
            content = self._archive.read(f"{self._root}data/{key}")
            values = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self._storages[key] = values
        return self._storages[key]


def _named_tensors(module: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _ScriptModule):
            yield from _named_tensors(value, f"{prefix}{name}.")


def _state_for(expected: Mapping[str, Tensor], content: Any) -> dict[str, Tensor]:
    """The tensors of a file's contents that are meant for a model, under the model's names.

    Raises ValueError for none, and for several sets (weights and their averages, student and teacher).
    """
    found = list(_states(content))
    meant = []
    for path, state in found:
        for prefix, named in _under_own_names(expected, state):
            if not expected.keys().isdisjoint(named):
                meant.append((f"{path}{prefix}" or "the top", named))
    if len(meant) == 1:
        return meant[0][1]
    if meant:
        paths = ", ".join(path.rstrip(".") for path, _ in meant)
        raise ValueError(f"several sets of weights: {paths}; save only one of them")
    if not found:
        names = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else ""
        entries = f" (entries: {names})" if names else ""
        raise ValueError(f"a {type(content).__name__} without tensors{entries}")
    tensors = [name for _, state in found for name in state]
    some = ", ".join(tensors[:3])
    raise ValueError(f"none of its {len(expected)} parameters among {len(tensors)} tensors ({some}, ...)")


def _states(content: Any, path: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping of names to tensors in a file's contents, with the entries that lead to it."""
    if isinstance(content, Mapping):
        if state := {str(name): value for name, value in content.items() if isinstance(value, Tensor)}:
            yield path, state
        for name, value in content.items():
            yield from _states(value, f"{path}{name}.")


def _under_own_names(
    expected: Mapping[str, Tensor], state: dict[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A state under the model's names, once for each prefix of theirs in it."""
    # A name that no other name ends with, preferably one that models of other depths also have.
    anchor = max(expected, key=lambda name: (not any(map(str.isdigit, name)), len(name)))
    # open_clip itself has two layouts of the text tower.
    other_layout = {f"text.{name}": name for name in expected} | {name.removeprefix("text."): name for name in expected}
    for name, convert in ((anchor, dict), (_HUGGING_FACE, _from_hugging_face)):
        prefixes = [found.removesuffix(name) for found in state if f".{found}".endswith(f".{name}")]
        if prefixes or name == _HUGGING_FACE:
            for prefix in prefixes or [""]:
                named = {found.removeprefix(prefix): value for found, value in state.items()}
                named = convert(named) if prefixes else named
                own = {name if name in expected else other_layout.get(name, name): named[name] for name in named}
                yield prefix, own
            return


# A name that every CLIPModel of Hugging Face has, and how the others differ: (theirs, open_clip's).
_HUGGING_FACE = "vision_model.embeddings.class_embedding"
_RENAMED = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.self_attn\.([qkv])_proj\.(weight|bias)$", r".attn.in_proj_\2 \1"),
)


def _from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a CLIPModel of Hugging Face under open_clip's names: query, key and value in one, projections
    transposed."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        found[name] = value.T if name in ("visual.proj", "text_projection") else value
    for name in [name for name in found if name.endswith(" q")]:
        together = name.removesuffix(" q")
        if all(f"{together} {part}" in found for part in "qkv"):
            found[together] = torch.cat([found.pop(f"{together} {part}") for part in "qkv"])
    return found
