"""Getting data sets: `all_preparations` lists them, `prepare` downloads and unpacks, `check` verifies."""

from dataset_adapters.prepare.install import prepare
from dataset_adapters.prepare.integrity import check, check_user_data
from dataset_adapters.prepare.preparation import Preparation, all_preparations, find_preparation

__all__ = ["Preparation", "all_preparations", "check", "check_user_data", "find_preparation", "prepare"]
