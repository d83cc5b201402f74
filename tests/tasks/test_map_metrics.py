"""Metrics of maps: equal to torchmetrics' and to references by hand, with unknown values, ties and nothing known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchmetrics.image as reference

from tutelage.data.heatmaps import render
from tutelage.data.map_targets import MapForm, unit_scale
from tutelage.structures import Batch
from tutelage.tasks.density import Density
from tutelage.tasks.depth import Depth
from tutelage.tasks.flow import Flow
from tutelage.tasks.keypoint_metrics import find_peaks
from tutelage.tasks.keypoints import Keypoints
from tutelage.tasks.restoration import Restoration

NAN = math.nan


def task_of(kind, channels=1):
    kinds = ("x", "y") if kind is Flow else ("value",) * channels
    return kind(unit_scale([str(k) for k in range(len(kinds))]), MapForm(kinds))


def figures(kind, estimates, targets, size=3):
    """The metrics of estimates and targets, given batch by batch."""
    task = task_of(kind, targets.shape[1])
    metrics = task.metrics(targets.shape[1])
    for start in range(0, len(targets), size):
        batch = Batch(torch.zeros(1), targets[start : start + size])
        task.update(metrics, estimates[start : start + size], batch)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_psnr_and_ssim_are_torchmetrics():
    y = torch.rand(5, 3, 24, 20)
    s = y + 0.2 * torch.randn_like(y)
    result, clamped = figures(Restoration, s, y), s.clamp(0, 1)
    psnr = reference.PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3))(clamped, y)
    ssim = reference.StructuralSimilarityIndexMeasure(data_range=1.0)(clamped, y)
    assert result["psnr"] == pytest.approx(float(psnr), abs=1e-4)
    assert result["ssim"] == pytest.approx(float(ssim), abs=1e-5)


def test_restored_images_at_the_edges():
    y = torch.rand(2, 1, 12, 12)
    assert figures(Restoration, y, y) == {"psnr": 100, "ssim": pytest.approx(1), "samples_left_out": 0}
    small = torch.rand(2, 1, 8, 8)
    assert {*figures(Restoration, small, small)} == {"psnr", "samples_left_out"}, "no window fits"
    partly = y.clone()
    partly[0, :, :6] = NAN
    wrong = torch.where(partly.isnan(), 5.0, partly + 0.1).clamp(0, 1)
    expected = -10 * (wrong - partly)[~partly.isnan()].view(-1)
    error = [(wrong - partly)[k][~partly[k].isnan()].square().mean() for k in range(2)]
    expected = np.mean([-10 * math.log10(x) for x in error])
    assert figures(Restoration, wrong, partly)["psnr"] == pytest.approx(expected, abs=1e-4)
    constant = torch.full((2, 1, 12, 12), 0.5)
    assert figures(Restoration, constant + 0.1, constant)["psnr"] == pytest.approx(20, abs=1e-4)


def test_depth_by_hand():
    y, s = 1 + 4 * torch.rand(5, 1, 6, 7), 1 + 4 * torch.rand(5, 1, 6, 7)
    y[torch.rand(y.shape) < 0.3] = NAN
    rows = []
    for a, b in zip(s.double().numpy(), y.double().numpy(), strict=True):
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
        ratio = np.maximum(a / b, b / a)
        rows.append([np.mean(abs(a - b) / b), np.sqrt(np.mean((a - b) ** 2)), np.mean(abs(np.log10(a / b))),
                     *(np.mean(ratio < 1.25**k) for k in (1, 2, 3))])  # fmt: skip
    result = figures(Depth, s, y)
    names = ("abs_rel", "rmse", "log10", "delta1", "delta2", "delta3")
    assert [result[name] for name in names] == pytest.approx(np.mean(rows, 0).tolist(), abs=1e-6)
    assert all(map(math.isfinite, figures(Depth, -s, y).values())), "estimates below 0 have no logarithm"
    assert figures(Depth, torch.ones_like(y), torch.ones_like(y))["delta1"] == 1


def test_counts_by_hand():
    y, s = torch.rand(7, 2, 5, 5), torch.rand(7, 2, 5, 5)
    y[0, :, :2] = NAN
    known = ~y.isnan()
    error = (torch.where(known, s, 0) - torch.where(known, y, 0)).double().sum((2, 3))
    result = figures(Density, s, y)
    assert result["mae"] == pytest.approx(float(error.abs().mean()), rel=1e-5)
    assert result["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)


def test_flow_by_hand():
    y, s = 20 * torch.randn(4, 2, 6, 6), torch.randn(4, 2, 6, 6)
    s = y + 3 * s
    y[1, :, :3] = NAN
    known = ~y.isnan().any(1)
    error, length = (s - y).norm(dim=1)[known].double(), y.norm(dim=1)[known].double()
    result = figures(Flow, s, y)
    assert result["epe"] == pytest.approx(float(error.mean()), rel=1e-5), "each pixel counts the same"
    assert result["fl_all"] == pytest.approx(float(((error > 3) & (error > 0.05 * length)).double().mean()))


def test_peaks_of_gaussians_are_exact_between_pixels():
    places = torch.tensor([[[5.3, 7.8], [10.0, 3.5]], [[2.6, 12.1], [13.2, 9.9]]])
    maps = render((places + 0.5) / 16, (16, 16), 1.5)
    assert torch.allclose(find_peaks(maps)[0], places, atol=1e-3)
    assert find_peaks(torch.zeros(1, 1, 4, 4))[0].isfinite().all()


def test_points_found_by_hand():
    true = torch.tensor([[[2.0, 2.0], [12.0, 2.0], [2.0, 12.0]]])
    found = true + torch.tensor([[[0.4, 0.0], [0.9, 0.0], [0.0, 3.0]]])
    targets, estimates = (render((x + 0.5) / 16, (16, 16), 1.0) for x in (true, found))
    result = figures(Keypoints, estimates, targets)
    assert (result["pck05"], result["pck10"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    oks = np.mean([math.exp(-(d**2) / (2 * 100 * 0.01)) for d in (0.4, 0.9, 3.0)])
    assert result["oks"] == pytest.approx(oks, abs=1e-3)
    targets[:, 2] = NAN
    assert figures(Keypoints, estimates, targets)["pck10"] == pytest.approx(1), "what isn't visible doesn't count"


@pytest.mark.parametrize("kind", [Restoration, Depth, Density, Flow, Keypoints])
def test_nothing_known_is_counted_and_finite(kind):
    channels = 2 if kind is Flow else 1
    targets = torch.full((3, channels, 12, 12), NAN)
    result = figures(kind, torch.randn(3, channels, 12, 12), targets)
    assert result["samples_left_out"] == 3
    assert all(map(math.isfinite, result.values()))
    targets[0] = 1.0
    assert figures(kind, torch.ones(3, channels, 12, 12), targets)["samples_left_out"] == 2


def test_responses_of_another_size_keep_their_meaning():
    batch = Batch(torch.zeros(1), torch.zeros(2, 1, 8, 8))
    counts = torch.rand(2, 1, 4, 4)
    assert torch.allclose(task_of(Density).response(counts, batch).sum((2, 3)), counts.sum((2, 3)), rtol=0.1)
    flow = task_of(Flow).response(torch.ones(2, 2, 4, 2), Batch(torch.zeros(1), torch.zeros(2, 2, 8, 8)))
    assert flow[0, :, 0, 0].tolist() == [4, 2]


@pytest.mark.parametrize("kind", [Depth, Flow, Restoration, Density, Keypoints])
def test_the_metric_is_that_of_the_samples_scores(kind):
    """Then the noise of the test set is known; keypoints count visible points, so that images weigh differently."""
    shape = (7, 2 if kind is Flow else 1, 16, 16)
    targets = torch.rand(shape) * (torch.rand(shape) > 0.98) if kind is Keypoints else 0.2 + torch.rand(shape)
    estimates = targets + 0.1 * torch.rand(shape)
    task = task_of(kind, shape[1])
    predictions = {name: x.numpy() for name, x in task.predictions(estimates, Batch(torch.zeros(7), targets)).items()}
    for metric in (kind.metric, *kind.other_metrics):
        scores = kind.sample_scores(metric, predictions)
        if kind is Keypoints:
            assert scores is None
        else:
            assert scores.values.shape == (7,)
            assert scores.metric == pytest.approx(figures(kind, estimates, targets)[metric], rel=1e-4)
