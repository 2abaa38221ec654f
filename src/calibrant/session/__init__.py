"""The one loop on the device: predict -> observe -> decide -> update -> verify -> commit, or roll back."""

from calibrant.session.session import Session

__all__ = ["Session"]
