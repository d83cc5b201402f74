"""Models by name: the literature's small networks, timm's, torchvision's, Hugging Face's, and your own.

>>> loaded = create("resnet8", classes=100)
>>> sum(parameter.numel() for parameter in loaded.model.parameters())
83892
"""

from tutelage.models.base import LoadedModel
from tutelage.models.loading import available, create

__all__ = ["LoadedModel", "available", "create"]
