"""Declaring torchvision's missing operators, each case in an interpreter that has not imported torchvision."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from helpers.fresh import run_fresh

DECLARE = """
    import json, sys
    from car_core.models.torchvision_guard import declare_missing_ops
    first, second = declare_missing_ops(), declare_missing_ops()
    import torch
    ops = [name for name in ("nms", "qnms") if hasattr(torch.ops.torchvision, name)]
    print(json.dumps({"first": first, "second": second, "ops": ops}))
"""


def declared(torchvision_parent: Path) -> dict[str, list[str]]:
    """What two calls declare, and which ops exist then, with another torchvision first on the path."""
    code = f"import sys; sys.path.insert(0, {str(torchvision_parent)!r})\n" + textwrap.dedent(DECLARE)
    result: dict[str, list[str]] = json.loads(run_fresh(code))
    return result


def torchvision_with(folder: Path, extension: Path | str | None) -> Path:
    """A folder that holds a torchvision package whose compiled ops are the given library, text, or absent."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    if isinstance(extension, Path):
        shutil.copy(extension, package / "_C.so")
    elif extension is not None:
        (package / "_C.so").write_text(extension)
    return folder


@pytest.fixture(scope="module")
def loadable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some shared library that the running interpreter can load."""
    folder = tmp_path_factory.mktemp("library")
    compiler = shutil.which("cc")
    if compiler is not None:
        (folder / "empty.c").write_text("int loaded = 1;\n")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", "empty.so", "empty.c"], cwd=folder, check=True)
        return folder / "empty.so"
    import _ctypes

    path = getattr(_ctypes, "__file__", None)
    if path is None:
        pytest.skip("neither a C compiler nor a shared library of Python's own is here")
    return Path(path)


def test_import_of_the_installed_torchvision_works() -> None:
    """On this machine, whichever case holds: the ops exist afterwards and open_clip's transforms can be used."""
    code = """
        from car_core.models.torchvision_guard import declare_missing_ops
        names = declare_missing_ops()
        assert names in ((), ("nms", "qnms")), names
        assert declare_missing_ops() == ()
        import torch, torchvision
        from torchvision.transforms import Resize
        assert hasattr(torch.ops.torchvision, "nms")
        print("ok")
    """
    assert run_fresh(code) == "ok"


def test_loadable_ops_declare_nothing(tmp_path: Path, loadable: Path) -> None:
    assert declared(torchvision_with(tmp_path, loadable)) == {"first": [], "second": [], "ops": []}


@pytest.mark.parametrize("extension", ["not a library", None], ids=["text", "no file"])
def test_unloadable_ops_are_declared_once(tmp_path: Path, extension: str | None) -> None:
    names = ["nms", "qnms"]
    assert declared(torchvision_with(tmp_path, extension)) == {"first": names, "second": [], "ops": names}


def test_one_loadable_of_several_is_enough(tmp_path: Path, loadable: Path) -> None:
    folder = torchvision_with(tmp_path, "not a library")
    shutil.copy(loadable, folder / "torchvision" / "_C_other.so")
    assert declared(folder)["first"] == []


def test_absent_torchvision_declares_nothing() -> None:
    code = """
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "torchvision" else found(name, *rest)
    """
    result = json.loads(run_fresh(textwrap.dedent(code) + textwrap.dedent(DECLARE)))
    assert result == {"first": [], "second": [], "ops": []}


def test_declared_ops_let_fake_kernels_register(tmp_path: Path) -> None:
    """What torchvision does on import, and what fails without the declaration."""
    register = """
        import torch
        @torch.library.register_fake("torchvision::nms")
        def nms(dets, scores, iou_threshold):
            return dets
        print("registered")
    """
    folder = torchvision_with(tmp_path, "not a library")
    path = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    declare = "from car_core.models.torchvision_guard import declare_missing_ops\ndeclare_missing_ops()\n"
    assert run_fresh(path + declare + textwrap.dedent(register)) == "registered"
    with pytest.raises(AssertionError, match="nms"):
        run_fresh(path + textwrap.dedent(register))
