"""Regression."""

from __future__ import annotations

from tutelage.verify.reference import Row

ROWS = {"fpd": Row(options={"weigh_maps": True})}
