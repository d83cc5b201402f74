"""The catalogue against published implementations: numbers that they computed, computed again with our losses."""

from tutelage.verify.checker import Outcome, verify

__all__ = ["Outcome", "verify"]
