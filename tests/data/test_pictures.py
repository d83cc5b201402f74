"""Photos as cameras leave them: turned by EXIF, of other modes, far larger than needed, or meant to harm."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from tutelage.data import decode, load
from tutelage.data.decode import ImageFile, max_shrink, to_tensor
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.splits import ViewSeed
from tutelage.errors import DataError

LABEL = torch.zeros(1, dtype=torch.int64)
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
TURNS |= {7: "TRANSVERSE", 8: "ROTATE_270"}
"""What was done to a picture that says this orientation: 6 and 8 undo each other, the others themselves."""


def smooth(height, width, cell=16):
    """Noise without the frequencies that scaling loses."""
    pixels = np.random.default_rng(0).integers(0, 256, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def turned(path, image, orientation):
    """The file of a camera that was held so."""
    exif = Image.Exif()
    exif[decode.ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    lying = image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image
    how = {"lossless": True} if path.suffix == ".webp" else {"quality": 95} if path.suffix == ".jpg" else {}
    lying.save(path, exif=exif, **how)


def item(path, size, profile=None, channels=3):
    return ImageFileSplit([path], channels, size, labels=LABEL).item(0, profile or ViewSeed())[0]


def apart(one, other):
    return (one.float() - other.float()).abs().mean()


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_as_the_camera_says(tmp_path, ending, orientation):
    image, path = smooth(48, 80), tmp_path / f"a{ending}"
    turned(path, image, orientation)
    picture = ImageFile(path)
    assert (picture.height, picture.width) == (48, 80)
    assert apart(to_tensor(picture.rgb_or_grey(3)[0]), to_tensor(image)) < (4 if ending == ".jpg" else 1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("crop", [False, True])
def test_crops_of_turned_photos_are_those_of_upright_ones(tmp_path, orientation, crop):
    image = smooth(640, 1000)
    turned(tmp_path / "a.jpg", image, orientation)
    turned(tmp_path / "b.jpg", image, 1)
    for view in range(4):
        profile = ViewSeed(0, view, crop)
        assert apart(item(tmp_path / "a.jpg", (56, 56), profile), item(tmp_path / "b.jpg", (56, 56), profile)) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(40, 40), (40, 60), (400, 600)])
def test_masks_lie_on_their_turned_photos(tmp_path, made, orientation, shape):
    for i in range(8):
        mask = np.zeros(shape, np.uint8)
        mask[: shape[0] // 3, : shape[1] // 2] = 1
        image = Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=2))
        turned(tmp_path / "images" / f"{i}.png", image, orientation)
        made.mask(tmp_path / "masks" / f"{i}.png", mask)
    data = load(f"segmentation:{tmp_path}", size=20)
    for batch in data.batches("train", 4, train=False):
        bright = batch.inputs[:, 0] * data.std[0] + data.mean[0]
        assert ((bright > 0.5) == (batch.targets == 1)).float().mean() > 0.95


def test_a_mask_of_the_lying_photo_is_refused_by_name(tmp_path, made):
    for i in range(8):
        turned(tmp_path / "images" / f"{i}.jpg", smooth(40, 60), 6)
        made.mask(tmp_path / "masks" / f"{i}.png", np.indices((60, 40))[0] % 2)
    with pytest.raises(DataError, match=r"masks/0\.png: is \(60, 40\), .*\(40, 60\), rotated by its EXIF orientation"):
        load(f"segmentation:{tmp_path}")


def test_damaged_exif_harms_nothing(tmp_path):
    smooth(40, 60).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    assert (ImageFile(tmp_path / "a.jpg").height, ImageFile(tmp_path / "a.jpg").width) == (40, 60)
    assert item(tmp_path / "a.jpg", (20, 20)).shape == (3, 20, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_of_eight_bits_are_what_they_look_like(tmp_path, mode, channels):
    ending = {"CMYK": ".jpg", "PA": ".gif", "HSV": ".png", "YCbCr": ".jpg"}.get(mode, ".tiff")
    image = Image.new("RGB", (32, 32), (200, 200, 200)).convert(mode if mode not in ("PA", "LAB") else "P")
    image = image if mode != "HSV" else image.convert("RGB")
    image.save(tmp_path / f"a{ending}")
    x = item(tmp_path / f"a{ending}", (16, 16), channels=channels)
    expected = 255 if mode == "1" else 200
    assert x.shape == (channels, 16, 16)
    assert abs(x.float().mean() - expected) < 4 or mode == "1"


@pytest.mark.parametrize(("mode", "ending"), [("I;16", ".png"), ("I", ".tiff"), ("F", ".tiff")])
def test_deep_photos_are_refused_before_anything_is_trained(tmp_path, made, mode, ending):
    root = made.photo_folder(tmp_path, side=100, mode="L")
    Image.new(mode, (100, 100), 700).save(root / "cat" / f"deep{ending}")
    with pytest.raises(DataError, match=rf"cat/deep\{ending}: has pixels of mode .*expected 8 bits per channel"):
        load(f"folder:{root}")


def at_full_size(path, size, profile):
    """The same crop, decoded whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "SCALES", ())
        return item(path, size, profile)


@pytest.mark.parametrize("shape", [(1200, 1600), (1201, 1607), (300, 2000)])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
@pytest.mark.parametrize("size", [(224, 224), (60, 90)])
def test_large_photos_are_decoded_small_and_the_crops_are_the_same(tmp_path, shape, how, size):
    smooth(*shape, cell=48).save(tmp_path / "a.jpg", quality=92, **how)
    picture = ImageFile(tmp_path / "a.jpg")
    for profile in [ViewSeed()] + [ViewSeed(3, view, True) for view in range(6)]:
        assert apart(item(tmp_path / "a.jpg", size, profile), at_full_size(tmp_path / "a.jpg", size, profile)) < 2
    whole = 0, 0, picture.height, picture.width
    times = picture.decode(max_shrink(whole, size))[1]
    assert times == max(t for t in (1, *decode.SCALES) if t <= max_shrink(whole, size))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_kinds_of_jpegs_are_decoded_small(tmp_path, mode, channels):
    smooth(900, 1200, cell=48).convert(mode).save(tmp_path / "a.jpg", quality=92)
    for profile in [ViewSeed()] + [ViewSeed(3, view, True) for view in range(4)]:
        got = item(tmp_path / "a.jpg", (56, 56), profile, channels)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "SCALES", ())
            assert apart(got, item(tmp_path / "a.jpg", (56, 56), profile, channels)) < 2


def test_other_crops_are_to_the_bit_what_they_were(tmp_path):
    smooth(300, 400).save(tmp_path / "a.png")
    smooth(300, 400).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.png") as image:
        assert item(tmp_path / "a.png", (224, 224)).equal(
            to_tensor(TF.center_crop(TF.resize(image.convert("RGB"), [256, 341]), [224, 224]))
        )
    for view in range(5):
        for name, size in (("a.png", (40, 40)), ("a.jpg", (224, 224))):
            profile = ViewSeed(1, view, True)
            assert item(tmp_path / name, size, profile).equal(at_full_size(tmp_path / name, size, profile))


def test_masks_follow_photos_that_are_decoded_small(tmp_path, made):
    for i in range(8):
        mask = np.zeros((600, 900 + i), np.uint8)
        mask[:200, 100:500] = 1
        made.picture(tmp_path / "images" / "x.png")
        Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=2)).save(tmp_path / "images" / f"{i}.jpg")
        made.mask(tmp_path / "masks" / f"{i}.png", mask)
    (tmp_path / "images" / "x.png").unlink()
    data = load(f"segmentation:{tmp_path}", size=(60, 90), augment="resized-crop")
    for view in range(3):
        for batch in data.batches("train", 4, epoch=view):
            bright = batch.inputs[:, 0] * data.std[0] + data.mean[0]
            assert ((bright > 0.5) == (batch.targets == 1)).float().mean() > 0.97


def bomb(path, width, height):
    """A PNG of a few hundred bytes that says it is so large."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("limit", ["PIL's", "lifted"])
def test_pictures_of_gigabytes_are_refused_by_name_before_they_are_decoded(tmp_path, made, monkeypatch, limit):
    if limit == "lifted":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    root = made.photo_folder(tmp_path, side=100)
    bomb(root / "cat" / "bomb.png", 60000, 60000)
    with pytest.raises(DataError, match=r"cat/bomb\.png: .*(exceeds limit|expected at most 178,956,970; shrink it)"):
        load(f"folder:{root}")


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (3, 20000)])
def test_strips_take_no_gigabytes(tmp_path, shape, monkeypatch):
    Image.new("RGB", shape[::-1], (9, 9, 9)).save(tmp_path / "a.png")
    resize, made = TF.resize, []

    def noted(image, size, *args, **kwargs):
        made.append(size[0] * size[1])
        return resize(image, size, *args, **kwargs)

    monkeypatch.setattr(TF, "resize", noted)
    assert item(tmp_path / "a.png", (224, 224)).unique().tolist() == [9]
    assert max(made) < 2_000_000
