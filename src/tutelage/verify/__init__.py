"""Verification of the catalogue against numbers that published implementations computed."""

from tutelage.verify.checker import Outcome, verify

__all__ = ["Outcome", "verify"]
