"""Data sets in their official layouts, read as samples: `load(name, root)`."""

from dataset_adapters import ade150 as ade150  # these modules register their adapters
from dataset_adapters import ade847 as ade847
from dataset_adapters import coco as coco
from dataset_adapters import own_folders as own_folders
from dataset_adapters import own_hf as own_hf
from dataset_adapters import pascal_context as pascal_context
from dataset_adapters import pc459 as pc459
from dataset_adapters import ref_davis as ref_davis
from dataset_adapters import refer as refer
from dataset_adapters import voc as voc
from dataset_adapters.dataset import Dataset, load
from dataset_adapters.embedded import embedded_root, holds, is_embedded
from dataset_adapters.images import ImageError, read_image, read_label_map
from dataset_adapters.sample import DatasetError, LabelSpace, Sample, SampleError, option_choices

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
