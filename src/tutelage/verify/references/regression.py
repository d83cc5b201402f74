"""Regression."""

from __future__ import annotations

from tutelage.verify.reference import Reference

ROWS = {"fpd": Reference(options={"weigh_maps": True})}
