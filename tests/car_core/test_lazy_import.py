"""Importing the library and its configuration costs neither torch nor open_clip."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_leaves_torch_alone() -> None:
    heavy = "torch", "torchvision", "open_clip", "cv2", "pydensecrf", "scipy"
    assert run(f"import sys, car_core; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_public_names_are_listed_without_torch() -> None:
    code = "import sys, {0}; print(set({0}.__all__) <= set(dir({0})), 'torch' in sys.modules)"
    assert [run(code.format(name)) for name in ("car_core", "evaluation")] == ["True False"] * 2


def test_configuration_and_errors_work_without_torch() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'open_clip', 'cv2'):\n"
        "    sys.modules[name] = None\n"  # an import of it now fails
        "from car_core import CaRConfig, CRFConfig, ImageError, ModelError, QueryError\n"
        "config = CaRConfig(profile='paper', crf=CRFConfig(iterations=2))\n"
        "assert CaRConfig(**config.model_dump(mode='json')) == config\n"
        "assert all(issubclass(error, ValueError) for error in (ImageError, ModelError, QueryError))\n"
        "print(config.crf.iterations)"
    )
    assert run(code) == "2"


@pytest.mark.parametrize("name", ["CaR", "Segmentation", "Step", "CaRConfig", "CRFConfig", "QueryError"])
def test_public_names(name: str) -> None:
    import car_core

    assert name in car_core.__all__
    assert getattr(car_core, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    import car_core

    with pytest.raises(AttributeError, match="Segmenter"):
        _ = car_core.Segmenter
