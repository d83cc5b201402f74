"""The samples of some classes keep what all samples have."""

from __future__ import annotations

import torch
from PIL import Image

from tutelage.data.image_files import ImageFileSplit
from tutelage.data.splits import ClassSubset, InMemorySplit


def test_groups_are_those_of_the_samples():
    x = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    whole = InMemorySplit(x, torch.tensor([0, 1, 2, 0, 1, 2]), groups=torch.tensor([5, 5, 6, 6, 7, 7]))
    part = ClassSubset(whole, torch.tensor([1, -1, 0]))
    assert part.labels.tolist() == [1, 0, 1, 0]
    assert part.groups.tolist() == [5, 6, 6, 7]
    assert part.take(torch.tensor([0, 3])).groups.tolist() == [5, 7]


def test_the_fingerprint_may_cover_contents(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        Image.new("L", (4, 4), number).save(path)
    part = ClassSubset(ImageFileSplit(paths, 1, (4, 4), labels=torch.tensor([0, 1])), torch.tensor([0, 1]))
    assert part.fingerprinted_by(True).samples.content
    assert not part.samples.content
    assert part.fingerprinted_by(True).fingerprint() != part.fingerprint()
