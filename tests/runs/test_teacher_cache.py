"""The cache that a configuration names."""

from __future__ import annotations

from pathlib import Path

import torch
from small import digits, net

from tutelage.config.schema import check
from tutelage.runs.teacher_cache import with_cache
from tutelage.tasks.classification import Classification
from tutelage.teachers.cached import Cached
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.random_member import RandomMember


def test_the_members_of_a_random_teacher_are_cached_in_a_new_teacher(tmp_path: Path):
    live = [Frozen(net(seed=k), Classification()) for k in range(2)]
    teacher = RandomMember(live, seed=3, epochs=2)
    config = check({"cache": str(tmp_path / "cache")})
    result = with_cache(teacher, digits(32), config, config, torch.device("cpu"))
    assert teacher.member_teachers() == live
    assert isinstance(result, RandomMember)
    assert (result.seed, result.epochs) == (3, 2)
    assert all(isinstance(member, Cached) for member in result.member_teachers())
