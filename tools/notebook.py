"""The example notebook: ``python -m tools.notebook`` runs it and stores its outputs, which the site shows."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

from support.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples/five_minutes.ipynb"


def executed(folder: Path) -> Any:
    """The notebook with fresh outputs, run in the folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    path, cache = os.environ.get("PYTHONPATH", ""), str(folder / "cache")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}", "CAR_CACHE": cache}
    client = NotebookClient(notebook, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(folder)}})
    client.execute(env=env)
    for cell in notebook.cells:
        cell.metadata.clear()  # times
        outputs = cell.get("outputs", [])
        outputs[:] = [output for output in outputs if output.get("name") != "stderr"]
        for output in outputs:
            if picture := output.get("data", {}).get("image/png"):
                output["data"] = {"text/plain": output["data"]["text/plain"], "image/jpeg": _small(picture)}
    notebook.metadata.pop("language_info", None)  # names this Python
    return notebook


def _small(picture: str) -> str:
    """A picture in base64 as a JPEG of at most 1000 pixels per side: the repository stays small."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.thumbnail((1000, 1000))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_atomically(NOTEBOOK, nbformat.writes(executed(Path(folder))) + "\n")
