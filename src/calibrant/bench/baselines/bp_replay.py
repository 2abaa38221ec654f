"""Back-propagation with what memory is cheap on a board with an operating system: 200 samples of replay."""

from __future__ import annotations

from calibrant.bench.baselines.er import ExperienceReplay


class GenerousReplay(ExperienceReplay):
    """Experience replay whose memory grows from the coreset to 200 samples before anything is displaced."""

    capacity = 200
