"""A rank that takes two steps and tells what it holds and what was planned: `torchrun ... held_ranks.py CONFIG OUT`."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from r3pp_core.training.capacity.check import check_fit
from r3pp_core.training.flags import parse
from r3pp_core.training.rehearsal import rehearse

config = parse(["--config", sys.argv[1]]).config
found = rehearse(config, lambda kind, **fields: None, lambda text: None)
made = check_fit(config, config.resolved_r3(None, None), int(os.environ["WORLD_SIZE"]))
if os.environ["RANK"] == "0":
    told = {
        "held": asdict(found.held),
        "planned": asdict(made.demand.held),
        "checkpoint": [found.checkpoint_bytes, made.demand.checkpoint_bytes],
    }
    Path(sys.argv[2]).write_text(json.dumps(told))
