"""Makes ``import torchvision`` work with a torch build that cannot load torchvision's compiled ops.

open_clip imports torchvision for its Python-only image transforms. A torchvision built for another torch (for
example a CUDA build with a CPU-only torch) fails while it is imported, because it registers fake kernels for
``torchvision::nms`` and ``torchvision::qnms``, operators that its unloadable extension should have defined.
Declaring the two schemas is enough for the import; calling the ops still fails, and nothing here calls them.

On a matching installation the extension loads and this module declares nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A torch.library.Library withdraws its declarations when it is collected, so it must live as long as torch: this module
# may be imported again, in a notebook.
_libraries: list[torch.library.Library] = vars(torch).setdefault("_car_eval_libraries", [])


def extension_loads(package: Path) -> bool:
    """True if the compiled ops in the torchvision folder ``package`` load into the running torch.

    Loading the extension twice is harmless: torchvision's own import finds it already loaded.
    """
    for library in sorted([*package.glob("_C*.so"), *package.glob("_C*.pyd")]):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


def declare_missing_ops() -> tuple[str, ...]:
    """Declare torchvision's ``nms`` and ``qnms`` if torchvision is installed and its ops cannot load.

    Returns the names declared by this call: empty on a matching installation, when torchvision is absent, or when
    they were declared before.
    """
    spec = importlib.util.find_spec("torchvision")
    if _libraries or spec is None or not spec.submodule_search_locations:
        return ()
    if extension_loads(Path(spec.submodule_search_locations[0])):
        return ()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS.values():
        library.define(schema)
    _libraries.append(library)
    return tuple(_SCHEMAS)
