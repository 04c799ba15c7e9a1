"""A constraint that can be enforced, as plain data: what one process has found out, and another one follows."""

from msgspec import Struct

from nitro.engines.types import Constraint


class ApprovedConstraint(Struct, frozen=True):
    """Made by `GrammarCompiler.approve`."""

    grammar: str  # as llguidance takes it
    constraint: Constraint  # without what cannot be followed of schemas that are not strict
    unenforced: list[str]  # what is let through of those, each with the name of its schema
    rechecks: bool  # whether the engine thread may compile its schemas again, for a value that is spelled oddly
