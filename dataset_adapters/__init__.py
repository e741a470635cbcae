"""Data sets in their official layouts, read as samples: `load(name, root)`."""

from dataset_adapters.base.adapter import option_choices
from dataset_adapters.base.dataset import Dataset, load
from dataset_adapters.base.embedded import embedded_root, holds, is_embedded
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.benchmarks import ade20k as ade20k  # these modules register their adapters
from dataset_adapters.benchmarks import cityscapes as cityscapes
from dataset_adapters.benchmarks import coco as coco
from dataset_adapters.benchmarks import mevis as mevis
from dataset_adapters.benchmarks import pascal_context as pascal_context
from dataset_adapters.benchmarks import reasonseg as reasonseg
from dataset_adapters.benchmarks import ref_davis as ref_davis
from dataset_adapters.benchmarks import refcoco as refcoco
from dataset_adapters.benchmarks import voc as voc
from dataset_adapters.errors import DatasetError, SampleError
from dataset_adapters.formats.images import ImageFileError as ImageError
from dataset_adapters.formats.images import read_image, read_label_map
from dataset_adapters.user_data import folders as folders
from dataset_adapters.user_data import hugging_face as hugging_face

__all__ = [
    "Dataset",
    "DatasetError",
    "ImageError",
    "LabelSpace",
    "Sample",
    "SampleError",
    "embedded_root",
    "holds",
    "is_embedded",
    "load",
    "option_choices",
    "read_image",
    "read_label_map",
]
