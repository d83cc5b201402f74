from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tutelage.explanation import labels


def rows(n=200, classes=4):
    """Probabilities of 0.9 for the true class, and its labels, of which some are wrong."""
    true = torch.arange(n) % classes
    probabilities = 0.9 * F.one_hot(true, classes).double() + 0.1 / classes
    given = true.clone()
    wrong = torch.tensor([3, 50, 121])
    given[wrong] = (true[wrong] + 1) % classes
    return probabilities, given, wrong, true


def test_wrong_labels_are_found_with_their_classes():
    probabilities, given, wrong, true = rows()
    found = labels.contradicted([probabilities, probabilities], given)
    assert (found >= 0).nonzero()[:, 0].tolist() == wrong.tolist()
    assert found[wrong].tolist() == true[wrong].tolist()


def test_both_networks_must_prefer_the_same_class():
    probabilities, given, wrong, true = rows()
    other = probabilities.clone()
    other[3] = 0.9 * F.one_hot((true[3] + 2) % 4, 4).double() + 0.025
    found = labels.contradicted([probabilities, other], given)
    assert (found >= 0).nonzero()[:, 0].tolist() == wrong[1:].tolist()


def test_thresholds_are_the_mean_of_the_class_s_own_samples():
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert torch.allclose(labels.thresholds(probabilities, torch.tensor([0, 0, 1])), torch.tensor([0.7, 0.8, 1.0]))


def test_an_unsure_preference_is_no_contradiction():
    probabilities, given, _, true = rows()
    probabilities[3] = 0.5 * F.one_hot(true[3], 4).double() + 0.125
    assert labels.preferred(probabilities, given)[3] == -1


def test_figures_count_the_labels_of_the_training_split(figures, opened):
    made = figures(labels)
    values = made["counts"].values
    assert sum(values["labels"].values()) == len(opened.data.train)
    assert values["few"] == [name for name, count in values["labels"].items() if count < labels.FEW]
    noise = made["contradicted"].values
    assert len(noise["samples"]) == len(noise["instead"]) == round(noise["share"] * noise["of"])
    assert all(0 <= i < len(opened.data.train) for i in noise["samples"])


@pytest.mark.parametrize(
    ("roles", "columns", "meaning"),
    [
        (["teacher", "baseline", "student"], ["Both prefer", "Smaller probability"], "Teacher and student both prefer"),
        (["baseline", "student"], ["Preferred", "Its probability"], "The student prefers"),
    ],
)
def test_words_are_of_a_teacher_only_if_there_is_one(opened, roles, columns, meaning):
    run = replace(opened, networks={role: opened.networks[role] for role in roles}, kept={})
    noise = labels.figures(run)[0]
    assert noise.block.head[2:] == columns
    assert noise.meaning.startswith(meaning)
    assert ("teacher" in f"{noise.meaning} {noise.reading}".lower()) == ("teacher" in roles)
