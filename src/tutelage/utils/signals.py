"""SIGINT and SIGTERM as a request to stop, which is honoured between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class StopRequest:
    """The number of the signal that requested the stop; 0 if there was none."""

    number: int = 0

    def record(self, number: int) -> None:
        """Set the signal that requested the stop; 0: none."""
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name


@contextmanager
def catch_stop_signals(request: StopRequest) -> Iterator[None]:
    """Note the first signal inside the block in `request`; a second one raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if request.number:
            raise KeyboardInterrupt
        request.record(number)

    handlers = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
