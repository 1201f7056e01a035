"""The training loop: evaluate, save, step, log. What happens at a step boundary happens before the step.

Every rank runs it. What one rank meets (bad input, a request to stop) is agreed on before anyone acts on it.
"""

import time
from collections.abc import Callable
from pathlib import Path

from r3pp_core.corruption.curriculum import level_at, row_level
from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import NonFiniteLossError
from r3pp_core.model.preparation import RejectedRow, refuse_nothing_usable
from r3pp_core.progress import Progress, silent
from r3pp_core.training import checkpoints
from r3pp_core.training.activations import NUM_STEPS, ActivationWatch
from r3pp_core.training.ahead import Share, StepsAhead
from r3pp_core.training.batches import RankStep
from r3pp_core.training.capacity.check import message
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
    world_size: int = 1,
) -> Path:
    """Train to `max_steps` or until `should_stop()`, and return the last checkpoint.

    `send(kind, **fields)` gets, on rank 0, "plan", "label_preview", "validation", "step", "checkpoint", and "done" or
    "stopped". Resuming gives the losses of never having stopped. Raises R3Error for bad input; what was trained is
    saved before that.
    """
    require_supported(config, world_size)
    run = set_up(config, progress, lambda made: send("plan", **message(made)))
    final = _train(run, send, should_stop, progress)
    run.group.leave()  # not after an error: a peer that is gone would be waited for
    return final


def _train(run: Training, send: Send, should_stop: Callable[[], bool], progress: Progress) -> Path:
    from torch import OutOfMemoryError

    config, group = run.config, run.group
    saved = _resume(run, progress)
    log = StepLog(config, send, progress, first_step=run.step, speaks=group.is_first)
    ahead = steps_ahead(run)
    watch = ActivationWatch(run.model.backbone) if run.backend.computes_in_fp16 else None
    last_watched = run.step + NUM_STEPS
    metrics: dict[str, float] = {}
    run.model.train()
    try:
        while True:
            group.raise_together(log.failure)
            is_last = any(group.gather(run.step >= config.max_steps or should_stop()))
            saves = saved != run.step and (is_last or (run.step > 0 and run.step % config.save_every == 0))
            if run.val_rows and (is_last or saves or run.step % config.eval_every == 0):
                metrics, rejected = validation_loss(run)
                log.rejected(rejected)
                log.validation(run.step, metrics)
            if saves:
                saved = run.step  # a save that fails is not tried again
                log.checkpoint(run.step, checkpoints.save(run, metrics))
            if is_last:
                break
            try:
                take_step(run, ahead, log)
            except NonFiniteLossError:
                _refuse_overflow(run, watch)
                raise
            metrics = {}
            _refuse_overflow(run, watch)
            if watch and run.step >= last_watched:
                watch.close()
                watch = None
    except R3Error:
        if run.step and saved != run.step:
            checkpoints.save(run, metrics)
        raise
    except OutOfMemoryError:
        if run.step and saved != run.step and group.size == 1:  # other ranks know nothing of it
            run.backend.zero_grad()
            checkpoints.save(run, metrics)
        raise
    finally:
        ahead.close()
        log.close()
    final = checkpoints.checkpoint_path(config.run_dir, run.step)
    log.end("done" if run.step >= config.max_steps else "stopped", run.step, final, metrics)
    group.raise_together(log.failure)
    return final


def take_step(run: Training, ahead: StepsAhead, log: StepLog) -> RankStep:
    """Step once, log it, and return this rank's part of it."""
    waiting_since = time.monotonic()
    part = _take(run, ahead, log)
    waited_s = time.monotonic() - waiting_since
    if part.batches:
        log.label_preview(run.model.tokenizer, part.batches[0])
    lr = set_rates(run.backend.optimizer, run.step, run.config)
    result = train_step(run.backend, part.batches, run.config, run.teacher, run.stand_in)
    if run.teacher:
        run.teacher.update(run.step)
    run.step, run.position = run.step + 1, run.position + ahead.share.rows_a_step
    log.step(run.step, lr, level_at(run.step - 1, run.config.curriculum), result, waited_s)
    return part


def _refuse_overflow(run: Training, watch: ActivationWatch | None) -> None:
    """Raise on every rank where float16 overflowed in a forward of any, while that is watched."""
    if watch is None:
        return
    found = watch.first_overflow()
    run.group.raise_together(
        R3Error(
            f"float16 overflowed in the backbone's {found} at step {run.step}, so what it computes is wrong; "
            "train in bf16 on a card of compute capability 8.0 or more, or in fp32"
        )
        if found
        else None
    )


def _resume(run: Training, progress: Progress) -> int | None:
    """The step of the checkpoint that the run goes on from, None for a new start."""
    found = run.group.from_first(lambda: _checkpoint_to_resume(run, progress))
    if found is None:
        return None
    checkpoints.restore(found, run)
    if run.group.is_first:
        progress(f"training: goes on from {found}")
        before, now = checkpoints.rows_a_step(found), run.rows_a_rank * run.group.size
        if before != now:
            progress(f"training: {now} rows a step from here on, {before} before: another number of ranks")
    return run.step


def _checkpoint_to_resume(run: Training, progress: Progress) -> Path | None:
    run_dir = run.config.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoints.remove_unfinished(run_dir)
    if run.config.resume != "never":
        checkpoints.refuse_damaged(run_dir)
    newest = checkpoints.newest(run_dir)
    other = newest is not None and checkpoints.differences(newest, run)
    if run.config.resume == "never" or (run.config.resume == "match" and other):
        checkpoints.set_aside(run_dir, progress)
        return None
    if newest is not None:
        checkpoints.refuse_other_run(newest, run)
    return newest


def _take(run: Training, ahead: StepsAhead, log: StepLog) -> RankStep:
    """This rank's part of the next step. Raises, on every rank, what any of them met, and when no rank has a row."""
    part, error = RankStep([], []), None
    try:
        part = ahead.take()
    except R3Error as met:
        error = met
    except OSError as met:
        error = R3Error(f"the rows of step {run.step} cannot be read: {met}")
    run.group.raise_together(error)
    told = run.group.gather((len(part.batches), part.rejected))
    rejected: list[RejectedRow] = [row for _, rows in told for row in rows]
    log.rejected(rejected)
    if not any(num_batches for num_batches, _ in told):
        refuse_nothing_usable(rejected)
    return part


def steps_ahead(run: Training) -> StepsAhead:
    config, group = run.config, run.group
    return StepsAhead(
        run.preparer,
        run.batcher,
        run.train_rows,
        run.order,
        lambda step, row_id, visit: row_level(step, config.curriculum, config.corruption.seed, row_id, visit),
        Share(run.step, run.position, run.rows_a_rank, group.rank, group.size),
        num_workers=config.num_workers,
        lookahead=config.lookahead,
    )
