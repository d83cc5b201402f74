from __future__ import annotations

import torch
import torch.nn.functional as F

from tutelage.losses.relation.class_prototypes import ClassPrototypes


def test_it_is_the_formula():
    student, teacher, targets = torch.randn(5, 4), torch.randn(5, 6), torch.tensor([7, 2, 7, 2, 2])

    def similarities(x):
        rows = []
        for one in x:
            means = [F.normalize(x[targets == k], dim=1).mean(0) for k in (2, 7)]
            rows.append([F.cosine_similarity(one, mean, dim=0) for mean in means])
        return torch.tensor(rows)

    expected = (similarities(student) - similarities(teacher)) ** 2
    torch.testing.assert_close(ClassPrototypes()(student, teacher, targets=targets), expected)


def test_a_sample_alone_in_its_class_is_its_own_prototype():
    values = ClassPrototypes()(torch.randn(3, 4), torch.randn(3, 5), targets=torch.tensor([0, 1, 2]))
    torch.testing.assert_close(values.diagonal(), torch.zeros(3), atol=1e-6, rtol=0)


def test_training_brings_classes_to_their_places():
    torch.manual_seed(0)
    teacher, targets = F.one_hot(torch.arange(12) % 3).float() + 0.1 * torch.randn(12, 3), torch.arange(12) % 3
    student = torch.randn(12, 8, requires_grad=True)
    optimiser, loss = torch.optim.Adam([student], lr=0.05), ClassPrototypes()
    first = loss(student, teacher, targets=targets).mean().item()
    for _ in range(400):
        optimiser.zero_grad()
        value = loss(student, teacher, targets=targets).mean()
        value.backward()
        optimiser.step()
    assert value.item() < 0.05 * first
