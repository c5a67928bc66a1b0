"""Parameters of training that all networks share."""

from __future__ import annotations

from dataclasses import dataclass

from pathomix.core.errors import PathomixError
from pathomix.core.parameters import choice
from pathomix.methods.heads import SURVIVAL_LOSSES
from pathomix.training.loop import Recipe
from pathomix.training.optimisers import OPTIMISERS


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Parameters common to the networks.

    Attributes:
        survival_loss: pf, paper, event_mean (Cox) or nll (discrete hazards).
        bins: Time intervals of nll.
        alpha: Weight of nll that takes censored terms out.
        selection: ``last``: the valid part is joined to the training part and the last epoch is the model.
            ``valid``: the epoch is selected on the valid part.
        patience: Epochs without a better valid score before stopping (`selection: valid`).
        epochs: Passes over the training patients.
        constant_epochs: Of these, before the linear decay of the learning rate; None = all of them.
        batch_size: Patients per step; for Cox also the largest risk set.
        optimiser: adam or radam.
        learning_rate: Of the optimiser.
        l2: Coupled weight decay.
        l1: Weight of the sum of absolute parameter values.
        dropout: Dropout probability (AlphaDropout in self-normalising layers).
    """

    survival_loss: str = "event_mean"
    bins: int = 4
    alpha: float = 0.0
    selection: str = "last"
    patience: int = 10
    epochs: int = 30
    constant_epochs: int | None = 0
    batch_size: int = 64
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    l2: float = 0.0
    l1: float = 0.0
    dropout: float = 0.25

    def __post_init__(self) -> None:
        choice(self.selection, ("last", "valid"), "selection")
        choice(self.survival_loss, SURVIVAL_LOSSES, "survival_loss")
        choice(self.optimiser, tuple(OPTIMISERS), "optimiser")
        if self.batch_size < (1 if self.survival_loss == "nll" else 2):
            raise PathomixError(
                f"batch_size is {self.batch_size}", remedy="a Cox loss needs at least 2 patients, `nll` at least 1"
            )
        if (self.constant_epochs or 0) > self.epochs:
            raise PathomixError(
                f"constant_epochs is {self.constant_epochs}, epochs {self.epochs}",
                remedy="set constant_epochs to at most epochs, or null for a constant learning rate",
            )

    @property
    def recipe(self) -> Recipe:
        """Optimisation settings."""
        return Recipe(
            epochs=self.epochs,
            constant_epochs=self.epochs if self.constant_epochs is None else self.constant_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            l2=self.l2,
            l1=self.l1,
            patience=self.patience if self.selection == "valid" else None,
            optimiser=self.optimiser,
        )
