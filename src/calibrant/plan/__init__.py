"""An integer graph becomes a program with a checked memory plan."""

from calibrant.plan.lower import lower

__all__ = ["lower"]
