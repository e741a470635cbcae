"""Reading large JSON files of annotations into checked models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.formats.images import max_pixels

Side = Annotated[int, Field(gt=0)]


class Stored(BaseModel):
    """The fields that are used of a JSON object; others are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class StoredImage(Stored):
    """An image as described by annotation files."""

    id: int
    file_name: str = Field(pattern=r"^[^/\\]+\.jpg$")
    height: Side
    width: Side

    @model_validator(mode="after")
    def _is_decodable(self) -> StoredImage:
        if self.height * self.width > max_pixels():
            raise ValueError(f"expected at most {max_pixels()} pixels (--max-pixels)")
        return self

    @property
    def stem(self) -> str:
        """The file name without its suffix: the sample's id."""
        return Path(self.file_name).stem

    @property
    def size(self) -> list[int]:
        """Height and width."""
        return [self.height, self.width]


class StoredRLE(Stored):
    """A mask as run-length encoding: runs of 0 and 1 in turn, down the columns. size: height and width."""

    size: tuple[Side, Side]


_Image = TypeVar("_Image", bound=StoredImage)
_Model = TypeVar("_Model", bound=Stored)


def read_stored(path: Path, model: type[_Model]) -> _Model:
    """Read a JSON file. Raises DatasetError naming the first field that does not fit the model."""
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        found = " ".join(str(first["input"]).split())[:60]
        raise DatasetError(f"{path}: {field}: {first['msg']}, found {found}") from None


def by_image_id(path: Path, images: Sequence[_Image]) -> dict[int, _Image]:
    """Return the images by id. Raises DatasetError if an id or a file name is repeated."""
    by_id = {image.id: image for image in images}
    if not len(by_id) == len({image.stem for image in images}) == len(images):
        raise DatasetError(f"{path}: images: expected each id and file name once, found one repeated")
    return by_id


def image_of(where: str, image_id: int, mask: object, images: Mapping[int, _Image]) -> _Image:
    """Return the image of an annotation. Raises DatasetError if it is not in the file or an RLE has another size."""
    if image_id not in images:
        raise DatasetError(f"{where}.image_id: expected an image of the file, found {image_id}")
    image = images[image_id]
    if isinstance(mask, StoredRLE) and list(mask.size) != image.size:
        raise DatasetError(
            f"{where}.segmentation.size: expected the size of its image, {image.size}, found {list(mask.size)}"
        )
    return image
