"""SIGINT and SIGTERM as a wish to stop, to be fulfilled between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class StopRequest:
    """The number of the signal that asked for a stop; 0: none did."""

    number: int = 0

    def ask(self, number: int) -> None:
        """Ask for a stop by this signal; 0: for none."""
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name


@contextmanager
def catch_stop_signals(wish: StopRequest) -> Iterator[None]:
    """While inside, the first signal is noted in `wish`; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: Any) -> None:
        if wish.number:
            raise KeyboardInterrupt
        wish.ask(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
