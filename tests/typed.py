"""How a user's program is typed: `make types` checks it, an ignore that isn't needed fails. Nothing here is run."""

from typing import assert_type

import tutelage
from tutelage import AT, KD
from tutelage.losses.response import kd

assert_type(KD(4), kd.KD)
assert_type(tutelage.KD(temperature=4.0).temperature, float)
KD("hot")  # type: ignore[arg-type]
KD(heat=4.0)  # type: ignore[call-arg]

run = tutelage.distill(data="digits", method=KD(4) + 10 * AT(), seeds=5, epochs=3, optimizer="adamw", progress=False)
assert_type(run, tutelage.FinishedRun)
tutelage.distill(epochs="3")  # type: ignore[arg-type]
tutelage.distill(epoch=3)  # type: ignore[call-arg]
tutelage.distill(optimizer="lion")  # type: ignore[arg-type]
tutelage.train("resnet20", lr="0.1")  # type: ignore[arg-type]
tutelage.resume("runs/a", epoch=3)  # type: ignore[call-arg]

keys: tutelage.Keys = {"epochs": 3, "seeds": 5}
tutelage.distill(**keys)
