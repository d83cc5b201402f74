"""The built-in networks: their published sizes, the images they take, what they show."""

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models import create
from tutelage.models.loading import families
from tutelage.models.zoo.dgcnn import nearest

# Trainable parameters at 100 classes and 3 channels, of the CRD benchmark's networks.
PARAMETERS = {
    "resnet8": 83_892, "resnet14": 181_108, "resnet20": 278_324, "resnet32": 472_756, "resnet44": 667_188,
    "resnet56": 861_620, "resnet110": 1_736_564, "resnet8x4": 1_233_540, "resnet32x4": 7_433_860,
    "wrn_16_1": 180_916, "wrn_16_2": 703_284, "wrn_40_1": 569_780, "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028, "vgg11": 9_277_284, "vgg13": 9_462_180, "vgg16": 14_774_436, "vgg19": 20_086_692,
    "resnet18_cifar": 11_220_132, "resnet50_cifar": 23_705_252,
    "mobilenetv2_half": 812_836, "shufflenetv1": 949_258, "shufflenetv2": 1_355_528,
}  # fmt: skip

OTHERS = {
    "conv1d-3-8": (40,),
    "m5-4": (2000,),
    "gru-2-8": (20,),
    "tcn-3-8": (20,),
    "pointnet-4": (40,),
    "pointnet-t-4": (12,),
    "dgcnn-4": (40,),
    "conv3d-3-4": (9, 8, 10),
    "voxnet-2": (9, 8, 10),
    "r3d10-4": (8, 9, 10),
    "mlp-16-8": (),
    "mlp-16-8-plain": (),
}
"""Networks for other inputs than images, with a size of these."""

SMALL = (
    "resnet8", "resnet14x2", "resnet18_cifar", "resnet50_cifar", "wrn-16-1", "vgg8", "mobilenetv2_half", "shufflenetv1",
    "shufflenetv2_0.5x", "cnn4",
)  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_are_the_published_ones(name):
    with torch.device("meta"):
        model = create(name, classes=100).model
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_every_family_is_tried_here():
    tried = {type(create(name, classes=2).model) for name in (*SMALL, *OTHERS)}
    assert tried == {family for family in families() if family.task == "classification"}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32), (3, 64)])
def test_any_image_gives_a_class_vector(name, channels, side):
    model = create(name, classes=7, channels=channels).model
    response = model(torch.randn(2, channels, side, side))
    assert response.shape == (2, 7)
    response.square().sum().backward()
    silent = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert not silent


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("channels", [1, 5])
def test_series_voxels_and_rows_give_a_class_vector(name, channels):
    model = create(name, classes=7, channels=channels, size=OTHERS[name]).model
    response = model(torch.randn(2, channels, *OTHERS[name]))
    assert response.shape == (2, 7)
    response.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("conv1d-3-8", (8, 8), "a network for series or points, and the inputs are images of 8×8: use resnet20"),
        ("cnn4", (40,), "a network for images, and the inputs are series or points of 40: use conv1d-3-16"),
        ("resnet8", (), "a network for images, and the inputs are rows of a table: use mlp-64-64"),
        (
            "mlp-8",
            (4, 4, 4),
            "a network for rows of a table, and the inputs are clips or voxels of 4×4×4: use r3d10-8 or conv3d-3-8",
        ),
        ("timm:resnet18", (40,), "a network for images, and the inputs are series or points of 40"),
        ("torchvision:resnet18", (2, 2, 2), "a network for images, and the inputs are clips or voxels of 2×2×2"),
    ],
)
def test_inputs_of_another_kind_are_refused(name, size, words):
    with pytest.raises(ConfigError, match=words):
        create(name, classes=4, size=size)


def test_a_perceptron_takes_rows_only():
    with pytest.raises(ModelError, match=r"takes rows \(B, columns\), got \(2, 3, 3\)"):
        create("mlp-8", classes=4).model(torch.randn(2, 3, 3))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet8x4", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("resnet18_cifar", [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]),
        ("resnet50_cifar", [(256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]),
        ("wrn_16_2", [(32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("vgg8", [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]),
        ("mobilenetv2_half", [(12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2)]),
        ("shufflenetv1", [(240, 16, 16), (480, 8, 8), (960, 4, 4)]),
        ("shufflenetv2", [(116, 16, 16), (232, 8, 8), (464, 4, 4)]),
        ("cnn8", [(8, 32, 32), (16, 16, 16), (32, 8, 8)]),
    ],
)
def test_stages_are_the_benchmarks(name, shapes):
    """Each layerN's output is the stage's map, is used once, and nothing later writes into it."""
    model, seen = create(name, classes=4).model.eval(), []

    def profile(_module, _inputs, output):
        seen.append((output, output.clone()))

    for index in range(len(shapes)):
        model.get_submodule(f"layer{index + 1}").register_forward_hook(profile)
    model(torch.randn(1, 3, 32, 32))
    assert [tuple(output.shape[1:]) for output, _ in seen] == shapes
    assert all(torch.equal(output, copy) for output, copy in seen)


@pytest.mark.parametrize("name", [*SMALL, *OTHERS, "seg8"])
def test_nothing_works_in_place(name):
    model = create(name, classes=4, task="segmentation" if name == "seg8" else "classification").model
    assert not any(getattr(module, "inplace", False) for module in model.modules())


def test_vgg_halves_a_large_image_once_more():
    model, shapes = create("vgg8", classes=4).model.eval(), []
    model.layer5.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape[2:]))
    model(torch.randn(1, 3, 64, 64))
    assert shapes == [(4, 4)]


def test_vgg_refuses_what_it_cannot_halve():
    with pytest.raises(ModelError, match=r"expected 8×8 pixels or more, got \(7, 8\)"):
        create("vgg8", classes=4).model(torch.randn(1, 3, 7, 8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 47)])
def test_segmenter_labels_each_pixel(shape):
    model = create("seg8", classes=5, channels=shape[0], task="segmentation").model
    assert model(torch.randn(2, *shape)).shape == (2, 5, *shape[1:])


def test_segmenter_sees_far_and_near():
    """One pixel of the input moves its own label, and through the deepest stage a distant one."""
    torch.manual_seed(0)
    model = create("seg8", classes=2, task="segmentation").model.eval()
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    model(image)[0, 0, 16, 16].backward()
    reached = image.grad.abs().sum((0, 1)) > 0
    assert reached[16, 16]
    assert reached[16, 4]


@pytest.mark.parametrize("name", ["pointnet-4", "pointnet-t-4", "dgcnn-4"])
def test_the_order_of_points_doesnt_matter(name):
    torch.manual_seed(0)
    model, x = create(name, classes=5).model, torch.randn(6, 3, 50)
    order = torch.randperm(50)
    assert torch.allclose(model(x), model(x[..., order]), atol=1e-5)
    assert not torch.allclose(model.eval()(x), model(1.5 * x), atol=1e-3)
    assert torch.allclose(model.layer1(x)[..., order], model.layer1(x[..., order]), atol=1e-5)


def test_the_transform_of_points_begins_as_the_identity_and_turns_coordinates_alone():
    torch.manual_seed(0)
    align = create("pointnet-t-8", classes=5, channels=4).model.align
    x = torch.randn(6, 4, 50)
    assert torch.allclose(align(x), x, atol=0.3)
    assert torch.equal(align(x)[:, 3:], x[:, 3:])


def test_neighbours_are_the_nearest_points():
    x = torch.randn(2, 3, 30)
    expected = torch.cdist(x.mT, x.mT).topk(5, largest=False).indices
    assert torch.equal(nearest(x, 5).sort().values, expected.sort().values)
    assert nearest(x, 99).shape == (2, 30, 30)


def test_convolutions_begin_as_he_says():
    torch.manual_seed(0)
    model = create("wrn_28_10", classes=10).model
    conv = model.layer3[1].conv1
    assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.01)
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", [*SMALL, *OTHERS, "seg8"])
def test_weights_are_a_function_of_the_seed(name):
    task = "segmentation" if name == "seg8" else "classification"

    def state(seed):
        torch.manual_seed(seed)
        return create(name, classes=3, task=task).model.state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet21", r"6n \+ 2.*got depth 21"),
        ("resnet20x0", "got depth 20, width 0"),
        ("wrn_17_2", r"6n \+ 4.*got depth 17"),
        ("vgg12", "8, 11, 13, 16, 19, got 12"),
        ("shufflenetv2_3x", "0.5, 1, 1.5, 2, got 3"),
        ("cnn0", "cnn0: expected a width of 1 or more"),
        ("conv1d-9-4", "conv1d-9-4: expected a depth from 1 to 8 and a width of 1 or more"),
        ("conv3d-0-4", "expected a depth from 1 to 8"),
        ("pointnet-0", "pointnet-0: expected a width of 1 or more"),
        ("dgcnn-0", "dgcnn-0: expected a width of 1 or more"),
        ("voxnet-0", "voxnet-0: expected a width of 1 or more"),
        ("mlp-8-0", "mlp-8-0: expected widths of 1 or more"),
    ],
)
def test_depths_and_widths_that_do_not_exist(name, words):
    with pytest.raises(ConfigError, match=words):
        create(name, classes=4)
