"""The launcher as a resource: runs a job through r3pp_core.launch and shows its messages while it runs."""

import time
from typing import Any

import dagster as dg
from pydantic import Field

from r3pp_core.launch import Job, JobResult, LaunchConfig, launcher_for

OBSERVED = ("step", "loss", "lr", "tokens_per_s", "memory_bytes", "seconds_left")
MIN_SECONDS_BETWEEN_OBSERVATIONS = 5.0


class LauncherResource(dg.ConfigurableResource):
    """How processes are started. One process goes through torchrun too, so that one and eight take the same path."""

    launcher: str = Field(default="local", description="local")
    num_processes: int = Field(default=1, description="processes on this machine, one a GPU")
    stop_grace_s: float = Field(default=60.0, description="time to save a checkpoint after a stop request, seconds")

    @property
    def launch_config(self) -> LaunchConfig:
        return LaunchConfig.model_validate(self.model_dump(include={"launcher", "num_processes", "stop_grace_s"}))

    def run(self, context: dg.AssetExecutionContext, job: Job) -> tuple[JobResult, str]:
        """Run to the end and return the result with the label preview (one row with what is supervised, marked).

        Numbers of step messages become observations of the asset, at most one in five seconds. Cancelling the run
        asks the job to stop at the next step, waits, and leaves no process behind.
        """
        reporter = _Reporter(context)
        result = launcher_for(self.launch_config).run(job, reporter.on_message, context.log.info)
        return result, reporter.label_preview


class _Reporter:
    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self.context = context
        self.last = 0.0
        self.label_preview = ""

    def on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("kind")
        if kind == "step":
            self._observe(message)
        elif kind == "label_preview":
            self.label_preview = str(message["text"])

    def _observe(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        is_last = message.get("step") == message.get("total_steps")
        if now - self.last < MIN_SECONDS_BETWEEN_OBSERVATIONS and not is_last:
            return
        self.last = now
        numbers = {name: message[name] for name in OBSERVED if message.get(name) is not None}
        self.context.log_event(
            dg.AssetObservation(
                asset_key=self.context.asset_key,
                partition=self.context.partition_key if self.context.has_partition_key else None,
                metadata=numbers,
            )
        )
        self.context.log.info(
            f"step {message.get('step')} of {message.get('total_steps')}: loss {message.get('loss'):.3f}, "
            f"about {message.get('seconds_left', 0):.0f} s left"
        )
