"""Peers in runs of their own, which exchange their weights through a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tutelage.errors import CheckpointError, ConfigError, DataError
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, peer_names
from tutelage.schemes.codistillation import Codistillation, copied
from tutelage.utils import tensor_file
from tutelage.utils.files import write_atomically
from tutelage.utils.options import Count, FewOrZero, Positive


class FileCodistillation(Codistillation):
    """One peer a run: it learns from what the others have left in a folder, and leaves its own weights there.

    At the batch r·every (r = 1, 2, …) it leaves its weights of round r and takes the others' of round r − lag, as soon
    as they are there; before that it hears them as they begin. Runs of one seed, with lag 0, are the peers of one
    `codistillation`; with lag 1 a run waits only for one that is a whole round behind. wait: seconds, then it fails,
    and can be resumed. folder: seen by all runs, empty at first; weights stay there.
    Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235, whose peers don't wait, but take
    the newest that there are: here a run can be repeated, and resumed bit by bit.
    Raises: ConfigError if `me` is none of the peers, or a number is out of range; DataError if the others don't come.
    """

    name = "exchange"

    def __init__(
        self,
        peers: Mapping[str, Player],
        me: str,
        folder: Path,
        every: Count = 50,
        lag: FewOrZero = 1,
        wait: Positive = 600.0,
        run: str = "",
    ) -> None:
        super().__init__(peers, every)
        self.me, self.folder, self.lag, self.wait, self.run = me, folder, lag, wait, run
        self.players = nn.ModuleDict({"student": peers[me]})
        del self.copies[me]

    @classmethod
    def from_context(
        cls,
        parts: SchemeContext,
        every: Count = 50,
        folder: str | None = None,
        me: FewOrZero = 0,
        lag: FewOrZero = 1,
        wait: Positive = 600.0,
    ) -> FileCodistillation:
        """As many peers as the run has, of which this run trains the one with the number `me`."""
        names = peer_names(parts)
        if folder is None:
            raise ConfigError("scheme=exchange: say through which folder (scheme={name: exchange, folder: …}).")
        if not 0 <= me < len(names):
            raise ConfigError(f"me={me}: there are {len(names)} peers, numbered from 0; say which one this run trains.")
        if parts.settings.sharded:
            raise ConfigError("scheme=exchange needs whole weights: use strategy=ddp.")
        made = {name: parts.player(k, "student" if k == me else name) for k, name in enumerate(names)}
        return cls(
            made,
            names[me],
            Path(folder) / parts.phase_folder.name,
            every,
            lag,
            wait,
            str(parts.phase_folder.absolute()),
        )

    def renew(self, turn: int) -> None:
        """Leave the own weights, take the others'."""
        if turn == 0:
            return
        if not dist.is_initialized() or dist.get_rank() == 0:
            self._leave(self._file(self.me, turn))
        if turn > self.lag:
            for name, teacher in self.copies.items():
                self._take(self._file(name, turn - self.lag), teacher)

    def _file(self, name: str, turn: int) -> Path:
        return self.folder / f"{name}-{turn:06d}.safetensors"

    def _leave(self, file: Path) -> None:
        if file.exists():
            run = tensor_file.read(file)[1].get("run")
            if run != self.run:
                raise ConfigError(f"{file} is of another run, {run}: give these runs an empty folder (scheme.folder).")
        weights = self.peers[self.me].student.model.state_dict()
        content = tensor_file.to_bytes({name: _copy(x) for name, x in weights.items()}, {"run": self.run})
        write_atomically(file, lambda out: out.write(content))

    def _take(self, file: Path, teacher: nn.Module) -> None:
        until = time.monotonic() + self.wait
        while not file.exists():
            if time.monotonic() > until:
                raise DataError(
                    f"{file} hasn't come within {self.wait:g} s: is that peer's run alive, with the same every="
                    f"{self.every}, batches and epochs? Then resume this one (tutelage resume)."
                )
            time.sleep(0.05)
        try:
            copied(tensor_file.read(file)[0], teacher)
        except RuntimeError as error:
            raise CheckpointError(
                f"{file} doesn't fit the peer: {error}. All runs name the same models in the same order (peers=…)."
            ) from error


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().cpu().clone(memory_format=torch.contiguous_format)
