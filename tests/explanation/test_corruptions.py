import pytest
import torch
import torch.nn.functional as F

from tutelage.explanation.corruptions import CORRUPTIONS, SEVERITIES, for_channels

IMAGES = F.interpolate(torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 32, mode="bilinear")
INDEX = torch.arange(6)
every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


def apply(name, severity, images=IMAGES, index=INDEX):
    return CORRUPTIONS[name](images, index, severity).clamp(0, 1)


@every_corruption
def test_keeps_shape_and_grows_with_severity(name):
    gaps = [float((apply(name, severity) - IMAGES).square().mean()) for severity in SEVERITIES]
    assert apply(name, 1).shape == IMAGES.shape
    assert gaps[0] > 1e-5
    if name == "pixelate":  # blocks that fit the image's own leave more of it than smaller ones
        gaps = [gaps[0], gaps[-1]]
    assert gaps == sorted(gaps)


@every_corruption
def test_depends_on_the_sample_and_not_on_the_batch(name):
    whole = apply(name, 3)
    assert torch.equal(apply(name, 3), whole)
    order = torch.tensor([4, 1])
    assert torch.allclose(apply(name, 3, IMAGES[order], INDEX[order]), whole[order], atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian noise", "shot noise", "impulse noise"])
def test_samples_get_different_noise(name):
    same = IMAGES[:1].expand(2, -1, -1, -1)
    first, second = apply(name, 2, same, INDEX[:2])
    assert not torch.equal(first, second)


def test_gaussian_noise_has_its_deviation_and_impulses_their_share():
    grey = torch.full((40, 3, 32, 32), 0.5)
    index = torch.arange(40)
    noise = CORRUPTIONS["gaussian noise"](grey, index, 3) - grey
    assert float(noise.std()) == pytest.approx(0.18, rel=0.02)
    hit = CORRUPTIONS["impulse noise"](grey, index, 5) != 0.5
    assert float(hit.float().mean()) == pytest.approx(0.27, rel=0.05)


def test_shot_noise_keeps_the_mean():
    grey = torch.full((40, 1, 32, 32), 0.4)
    noisy = CORRUPTIONS["shot noise"](grey, torch.arange(40), 5)
    assert float(noisy.mean()) == pytest.approx(0.4, rel=0.03)
    assert float(noisy.var()) == pytest.approx(0.4 / 3, rel=0.1)


def test_contrast_keeps_each_image_s_mean():
    flat = CORRUPTIONS["contrast"](IMAGES, INDEX, 5)
    assert torch.allclose(flat.mean((2, 3)), IMAGES.mean((2, 3)), atol=1e-5)
    assert torch.allclose(flat.std((2, 3)), 0.05 * IMAGES.std((2, 3)), atol=1e-4)


def test_jpeg_is_for_one_or_three_channels():
    assert "jpeg" in for_channels(1)
    assert "jpeg" in for_channels(3)
    assert "jpeg" not in for_channels(4)
    assert apply("jpeg", 5, IMAGES[:, :1]).shape == (6, 1, 32, 32)
