"""References for regression losses."""

from __future__ import annotations

from tutelage.verify.reference import Reference

REFERENCES = {"fpd": Reference(options={"weigh_maps": True})}
