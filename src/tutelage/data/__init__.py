"""Data by name, and its batches."""

from tutelage.data.data_module import Data
from tutelage.data.from_datasets import from_datasets
from tutelage.data.loading import available, load
from tutelage.data.splits import Samples

__all__ = ["Data", "Samples", "available", "from_datasets", "load"]
