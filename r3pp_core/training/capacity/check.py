"""The plan of a run that is about to load: told, and refused where card or disk would not do."""

from typing import Any

from r3pp_core.errors import R3Error
from r3pp_core.model.config import R3Config
from r3pp_core.training.capacity.cards import Cards, present_card
from r3pp_core.training.capacity.plan import Plan, plan_for, remedies, table
from r3pp_core.training.config import TrainConfig

ENOUGH_LESS = 0.25  # of what a step needs for a time: offered where a plan fitted and the card did not


def check_fit(config: TrainConfig, r3: R3Config, num_ranks: int) -> Plan:
    """The plan of this run on this process's card. Raises R3Error with the table where it does not fit."""
    card = present_card()
    made = plan_for(config, Cards(num_ranks, card) if card else None, num_ranks, r3)
    if config.if_unfit == "refuse":
        refuse_unfit(made, r3)
    return made


def refuse_unfit(made: Plan, r3: R3Config | None = None) -> None:
    """Raise R3Error with the table and what would fit, unless memory and disk suffice."""
    if not made.memory_fits:
        fitting = "; ".join(remedies(made, r3)) or "nothing that is known here; take larger cards, or more of them"
        raise R3Error(
            f"the run does not fit on its card. It would with: {fitting}. Or try: --if_unfit warn\n{table(made)}"
        )
    if not made.disk_fits:
        raise R3Error(
            f"the run's checkpoints do not fit into {made.config.run_dir}: {made.disk_needed / 1e9:.1f} GB are needed, "
            f"{made.disk_free / 1e9:.1f} GB are free; free some, lower --keep, or choose another --output_dir\n"
            f"{table(made)}"
        )


def message(made: Plan, r3: R3Config | None = None) -> dict[str, Any]:
    """The fields of a "plan" message."""
    enough = made.demand.total - int(ENOUGH_LESS * made.demand.transient.total)
    smaller = remedies(made, r3, enough) if made.cards else []
    return {
        "table": table(made),
        "memory_bytes": made.demand.total,
        "card_bytes": made.cards.card.memory_bytes if made.cards else None,
        "checkpoint_bytes": made.demand.checkpoint_bytes,
        "stop_grace_s": made.stop_grace_s,
        "hours": made.hours,
        "smaller": smaller,
    }
