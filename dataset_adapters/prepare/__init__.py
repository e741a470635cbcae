"""Getting data sets: `all_preparations` lists them, `prepare` downloads and unpacks, `check` verifies."""

from dataset_adapters.prepare import ade150 as ade150  # these modules register their data sets
from dataset_adapters.prepare import ade847 as ade847
from dataset_adapters.prepare import cityscapes as cityscapes
from dataset_adapters.prepare import coco_object as coco_object
from dataset_adapters.prepare import grefcoco as grefcoco
from dataset_adapters.prepare import mevis as mevis
from dataset_adapters.prepare import pascal_context as pascal_context
from dataset_adapters.prepare import pc459 as pc459
from dataset_adapters.prepare import reasonseg as reasonseg
from dataset_adapters.prepare import ref_davis as ref_davis
from dataset_adapters.prepare import refcoco as refcoco
from dataset_adapters.prepare import voc as voc
from dataset_adapters.prepare.install import prepare
from dataset_adapters.prepare.integrity import check, check_user_data
from dataset_adapters.prepare.preparation import Preparation, all_preparations, find_preparation

__all__ = ["Preparation", "all_preparations", "check", "check_user_data", "find_preparation", "prepare"]
