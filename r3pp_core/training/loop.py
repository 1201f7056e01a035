"""The training loop: evaluate, save, step, log. What happens at a step boundary happens before the step."""

import time
from collections.abc import Callable
from pathlib import Path

from r3pp_core.corruption.curriculum import level_at
from r3pp_core.errors import R3Error
from r3pp_core.model.preparation import refuse_nothing_usable
from r3pp_core.progress import Progress, silent
from r3pp_core.training import checkpoints
from r3pp_core.training.ahead import StepsAhead
from r3pp_core.training.batches import step_batches
from r3pp_core.training.config import TrainConfig, require_supported
from r3pp_core.training.log import Send, StepLog
from r3pp_core.training.optimizer import set_rates
from r3pp_core.training.setup import Training, set_up
from r3pp_core.training.step import train_step
from r3pp_core.training.validation import validation_loss


def train(
    config: TrainConfig,
    send: Send = lambda kind, **fields: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
) -> Path:
    """Train to `max_steps` or until `should_stop()`, and return the last checkpoint.

    `send(kind, **fields)` gets "label_preview", "validation", "step", "checkpoint", and "done" or "stopped". Resuming
    gives the losses of never having stopped. Raises R3Error for bad input; what was trained is saved before that.
    """
    require_supported(config, world_size=1)
    run_dir = config.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoints.remove_unfinished(run_dir)
    run = set_up(config, progress)
    saved = _resume(run, run_dir, progress)
    log = StepLog(run_dir, config, send, progress, first_step=run.step)
    ahead = _steps_ahead(run)
    metrics: dict[str, float] = {}
    run.model.train()
    try:
        while True:
            is_last = run.step >= config.max_steps or should_stop()
            if run.val_rows and (is_last or run.step % config.eval_every == 0):
                metrics = validation_loss(run.model, run.preparer, run.val_rows, config, log.rejected)
                log.validation(run.step, metrics)
            if saved != run.step and (is_last or (run.step and run.step % config.save_every == 0)):
                path = _save(run, run_dir, metrics)
                saved = run.step
                send("checkpoint", step=run.step, path=str(path))
            if is_last:
                break
            waiting_since = time.monotonic()
            prepared = ahead.take()
            batches, rejected = step_batches(run.model, prepared, config.max_length)
            waited_s = time.monotonic() - waiting_since
            log.rejected(rejected)
            if not batches:
                refuse_nothing_usable(rejected)
            log.label_preview(run.model.tokenizer, batches[0])
            lr = set_rates(run.optimizer, run.step, config)
            result = train_step(run.model, run.optimizer, run.scaler, batches, config)
            run.step += 1
            log.step(run.step, lr, level_at(run.step - 1, config.curriculum), result, waited_s)
    except R3Error:
        if run.step and saved != run.step:
            _save(run, run_dir, metrics)
        raise
    finally:
        ahead.close()
    final = checkpoints.checkpoint_path(run_dir, run.step)
    kind = "done" if run.step >= config.max_steps else "stopped"
    send(kind, checkpoint=str(final), step=run.step, **metrics)
    return final


def _resume(run: Training, run_dir: Path, progress: Progress) -> int | None:
    """The step of the checkpoint that the run goes on from, None for a new start."""
    newest = checkpoints.newest(run_dir)
    other = newest is not None and checkpoints.differences(newest, run.config, run.inputs)
    if run.config.resume == "never" or (run.config.resume == "match" and other):
        checkpoints.set_aside(run_dir, progress)
        return None
    if newest is None:
        return None
    checkpoints.refuse_other_run(newest, run.config, run.inputs)
    run.step = checkpoints.restore(newest, run.model, run.optimizer, run.scaler)
    progress(f"training: goes on from {newest}")
    return run.step


def _save(run: Training, run_dir: Path, metrics: dict[str, float]) -> Path:
    return checkpoints.save(run_dir, run.step, run.model, run.optimizer, run.scaler, run.config, run.inputs, metrics)


def _steps_ahead(run: Training) -> StepsAhead:
    config = run.config
    return StepsAhead(
        run.preparer,
        run.train_rows,
        run.order,
        lambda step: level_at(step, config.curriculum),
        first_step=run.step,
        batch_size=config.batch_size,
        grad_accum=config.grad_accum,
        num_workers=config.num_workers,
        lookahead=config.lookahead,
    )
