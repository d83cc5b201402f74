"""Data by name, and its batches."""

from tutelage.data.data_module import DataModule
from tutelage.data.from_datasets import from_datasets
from tutelage.data.loading import available, load, load_unlabelled
from tutelage.data.splits import Split

__all__ = ["DataModule", "Split", "available", "from_datasets", "load", "load_unlabelled"]
