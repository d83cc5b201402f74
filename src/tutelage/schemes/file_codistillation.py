"""Peers in separate runs, which exchange their weights through a folder."""

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
from tutelage.schemes.codistillation import Codistillation, load_copy
from tutelage.utils import tensor_file
from tutelage.utils.files import write_atomically
from tutelage.utils.options import Count, Positive, SmallCountOrZero


class FileCodistillation(Codistillation):
    """One peer per run: it learns from the weights that other runs have written to a folder, and writes its own there.

    At the batch r·every (r = 1, 2, …) a run writes its weights of round r and loads the other peers' of round r − lag
    as soon as they exist; until its first exchange it learns from the other peers' initial weights. Runs of one seed
    with lag 0 reproduce the peers of one `codistillation`; with lag 1 a run waits only for a peer that is a whole
    round behind.

    Args:
        every: the number of batches between two exchanges.
        folder: a folder that all runs can access, initially empty; the weights stay there.
        me: the number of the peer that this run trains, from 0.
        lag: the number of rounds by which the loaded weights are older than the current round.
        wait: how long to wait for a file, in seconds; after that the run fails, and can be resumed.
    Paper: Anil, Pereyra, Passos, Ormandi, Dahl, Hinton. ICLR 2018. arXiv:1804.03235, whose peers don't wait, but load
    the newest available weights: here runs are reproducible, and resume bitwise identically.
    Raises: ConfigError if `me` is none of the peers, or a number is out of range; DataError if a file doesn't arrive.
    """

    name = "exchange"

    def __init__(
        self,
        peers: Mapping[str, Player],
        me: str,
        folder: Path,
        every: Count = 50,
        lag: SmallCountOrZero = 1,
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
        context: SchemeContext,
        every: Count = 50,
        folder: str | None = None,
        me: SmallCountOrZero = 0,
        lag: SmallCountOrZero = 1,
        wait: Positive = 600.0,
    ) -> FileCodistillation:
        """Build as many peers as the run has, of which this run trains number `me`."""
        names = peer_names(context)
        if folder is None:
            raise ConfigError(
                "scheme=exchange needs a folder through which the runs exchange weights "
                "(scheme={name: exchange, folder: …})."
            )
        if not 0 <= me < len(names):
            raise ConfigError(
                f"me={me}: there are {len(names)} peers, numbered from 0; set me to the number of the peer that this "
                "run trains."
            )
        if context.settings.sharded:
            raise ConfigError("scheme=exchange needs unsharded weights: use strategy=ddp.")
        players = {name: context.player(k, "student" if k == me else name) for k, name in enumerate(names)}
        return cls(
            players,
            names[me],
            Path(folder) / context.phase_folder.name,
            every,
            lag,
            wait,
            str(context.phase_folder.absolute()),
        )

    def refresh_copies(self, turn: int) -> None:
        """Write this run's weights, and load the other peers'; turn: the number of the round."""
        if turn == 0:
            return
        if not dist.is_initialized() or dist.get_rank() == 0:
            self._write_weights(self._file(self.me, turn))
        if turn > self.lag:
            for name, teacher in self.copies.items():
                self._load_weights(self._file(name, turn - self.lag), teacher)

    def _file(self, name: str, turn: int) -> Path:
        return self.folder / f"{name}-{turn:06d}.safetensors"

    def _write_weights(self, file: Path) -> None:
        if file.exists():
            run = tensor_file.read_tensors(file)[1].get("run")
            if run != self.run:
                raise ConfigError(
                    f"{file} belongs to another run, {run}: give these runs an empty folder (scheme.folder)."
                )
        weights = self.peers[self.me].student.model.state_dict()
        content = tensor_file.encode_tensors({name: _to_cpu(x) for name, x in weights.items()}, {"run": self.run})
        write_atomically(file, lambda stream: stream.write(content))

    def _load_weights(self, file: Path, teacher: nn.Module) -> None:
        deadline = time.monotonic() + self.wait
        while not file.exists():
            if time.monotonic() > deadline:
                raise DataError(
                    f"{file} didn't appear within {self.wait:g} s: check that that peer's run is alive and has the "
                    "same every="
                    f"{self.every}, batches and epochs, then resume this run (tutelage resume)."
                )
            time.sleep(0.05)
        try:
            load_copy(tensor_file.read_tensors(file)[0], teacher)
        except RuntimeError as error:
            raise CheckpointError(
                f"{file} doesn't fit the peer: {error}. All runs must list the same models in the same order (peers=…)."
            ) from error


def _to_cpu(weight: Tensor) -> Tensor:
    return weight.detach().cpu().clone(memory_format=torch.contiguous_format)
