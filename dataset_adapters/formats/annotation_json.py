"""Reading large JSON files of annotations as checked fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.formats.images import max_pixels

Side = Annotated[int, Field(gt=0)]


class Stored(BaseModel):
    """Fields that are used of a JSON object; others are left unread."""

    model_config = ConfigDict(strict=True, extra="ignore")


class StoredImage(Stored):
    """What files of annotations say of an image."""

    file_name: str = Field(pattern=r"^[^/\\]+\.jpg$")
    height: Side
    width: Side

    @model_validator(mode="after")
    def _is_decodable(self) -> StoredImage:
        if self.height * self.width > max_pixels():
            raise ValueError(f"expected at most {max_pixels()} pixels (--max-pixels)")
        return self


_Model = TypeVar("_Model", bound=Stored)


def read_stored(path: Path, model: type[_Model]) -> _Model:
    """Read a JSON file. Raises DatasetError naming the first field that is not as the model says."""
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        found = " ".join(str(first["input"]).split())[:60]
        raise DatasetError(f"{path}: {field}: {first['msg']}, found {found}") from None
