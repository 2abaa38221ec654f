"""What a policy says of a window, and why; only the session's loop acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What becomes of a window. The value is the word of reports and histories."""

    ADAPT = "adapt"  # learn from it: what comes of that is another decision
    COMMIT = "committed"
    REJECT = "rejected"  # what was learned does not come into force
    SKIP = "skipped"
    REVERT = "reverted"  # an earlier version does better: `Decision.version`


@dataclass(frozen=True)
class Decision:
    """An action with its reason, for people; `version` of the one to go back to, for that action alone.

    Examples
    --------
    >>> Decision(Action.SKIP, "labels have taught this domain").action.value
    'skipped'
    """

    action: Action
    reason: str
    version: int | None = None

    @property
    def adapt(self) -> bool:
        """Whether to learn from the window."""
        return self.action is Action.ADAPT
