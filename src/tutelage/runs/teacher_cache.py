"""The cache that a configuration describes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from tutelage.cache.manifest import cache_key
from tutelage.config.schema import Config
from tutelage.data.data_module import DataModule
from tutelage.settings import TrainerSettings
from tutelage.teachers.base import Teacher
from tutelage.teachers.cached import Cached, CachePlan, cache_identity, require_identity
from tutelage.teachers.random_member import RandomMember

FOLDER = Path("caches")
"""Where caches without a name of their own go: DATA-KEY, so that runs which may share one do."""


def refuse_changing(teacher: Teacher) -> None:
    """Refuse to cache a teacher that changes in training; RandomMember doesn't change if each of its members is frozen.

    Raises: ConfigError that names it.
    """
    for member in teacher.member_teachers() if isinstance(teacher, RandomMember) else [teacher]:
        require_identity(member)


def with_cache(
    teacher: Teacher, data: DataModule, config: Config, settings: TrainerSettings, device: torch.device
) -> Teacher:
    """Return the teacher with its outputs on disk, in the folder that `cache` names or in one named by its key.

    Each member of a RandomMember has a cache of its own: below the named folder, by its number.
    """
    if isinstance(teacher, RandomMember):
        members = []
        for m, member in enumerate(teacher.member_teachers()):
            folder = f"{config.cache}/{m}" if isinstance(config.cache, str) else True
            members.append(with_cache(member, data, config.model_copy(update={"cache": folder}), settings, device))
        return RandomMember(members, teacher.seed, teacher.epochs)
    plan = CachePlan(
        folder=Path(config.cache) if isinstance(config.cache, str) else FOLDER,
        storage=config.cache_storage,
        views=settings.views or 1,
        view_seed=settings.view_seed,
        batch_size=max(settings.batch_size // settings.devices, 1),
        device=device,
        memory_format=torch.channels_last if settings.channels_last else None,
        workers=settings.workers,
    )
    identity = teacher.identity()
    if config.cache is True and identity is not None:
        stem = re.sub(r"[^\w.-]+", "-", Path(config.data.partition(":")[2] or config.data).stem)
        plan = replace(plan, folder=FOLDER / f"{stem}-{cache_key(cache_identity(identity, data, plan))[:12]}")
    return Cached(teacher, data, plan)
