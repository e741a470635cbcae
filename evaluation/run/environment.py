"""Where a run was made: machine, packages, commit, memory."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from car_core.models.weights import WeightsRecord
from results import Environment
from support.choices import Precision

# Packages whose version can change a figure.
NUMERIC_PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "pydensecrf2",
    "pycocotools",
)
# And those that only a model of a role needs.
PACKAGES_BY_ROLE = {"sam": ("transformers",), "sam3": ("transformers",), "dino": ("timm", "scipy")}


def package_versions(weights: Sequence[WeightsRecord] = ()) -> dict[str, str]:
    """Installed version of each package that can change a figure of a run with these models."""
    needed = [name for record in weights for name in PACKAGES_BY_ROLE.get(record.role, ())]
    found = {name: _version(name) for name in (*NUMERIC_PACKAGES, *dict.fromkeys(needed))}
    return {name: version for name, version in found.items() if version}


@functools.cache  # each look-up reads the package's whole description
def _version(name: str) -> str | None:
    """None for a package that is not installed, as pydensecrf2 may be, or under another name, as OpenCV is in conda."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment(
    devices: Sequence[str],
    weights: Sequence[WeightsRecord] = (),
    *,
    precision: Precision = "float32",
    at_hand: bool = True,
) -> Environment:
    """Where and with what this process runs.

    weights: of the models of the run. at_hand: whether devices are this machine's, so that their names can be read.
    """
    import torch

    commit = _git("rev-parse", "HEAD")
    names = (torch.cuda.get_device_name(name) if at_hand and name.startswith("cuda") else name for name in devices)
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages={"car-eval": _version("car-eval") or "not installed", **package_versions(weights)},
        git_commit=commit,
        git_dirty=None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no")),
        device=", ".join(dict.fromkeys(names)),
        dtype=precision,
        threads=torch.get_num_threads(),
        seed=None,
    )


def _git(*arguments: str) -> str | None:
    """Output of git about the checkout this code runs from; None outside a checkout of it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def peak_rss_mib() -> float | None:
    """Largest resident memory of this process so far, in MiB; None on systems that do not report it."""
    # First Linux's file: its getrusage counts what the parent had when it started this process.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
