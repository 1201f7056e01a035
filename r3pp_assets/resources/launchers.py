"""The launcher as a resource: runs a job through r3pp_core.launch and shows its messages while it runs."""

import time
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from r3pp_assets.launchpad import refused_at_launch
from r3pp_core.flags import validated
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig

OBSERVED = ("step", "loss", "lr", "tokens_per_s", "memory_bytes", "seconds_left")
VALIDATED = ("step", "val_loss")
USE_LAUNCHER = "done by the launcher's ranks, not by this process; empty: where the launcher has several"
MIN_SECONDS_BETWEEN_OBSERVATIONS = 5.0


@refused_at_launch(lambda launcher: launcher.launch_config())
class LauncherResource(dg.ConfigurableResource):
    """How processes are started. One process goes through torchrun too, so that one and eight take the same path."""

    launcher: Literal["local", "slurm"] = Field(default="local", description="where: this machine, or a cluster")
    starter: Literal["torchrun", "deepspeed"] = Field(default="torchrun", description="what starts the ranks")
    num_processes: int | None = Field(
        default=None, ge=1, description="processes on a machine; empty: one, or one a GPU for a sharded backend"
    )
    gpus: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, min_length=1, description="indices, from 0, of the GPUs that may be used; empty: all"
    )
    stop_grace_s: float | None = Field(
        default=None, ge=0, description="time to save a checkpoint after a stop request, seconds; empty: from the plan"
    )
    poll_s: float = Field(default=0.5, gt=0, description="seconds between two looks at the job's messages")
    env: dict[str, str] = Field(default={}, description="added to the job's environment")
    slurm: dict[str, Any] = Field(default={}, description="fields of SlurmConfig, for the launcher of that name")

    def launch_config(self, *, one_a_gpu: bool = False) -> LaunchConfig:
        """Raises UsageError for values that do not fit. `one_a_gpu`: where no number of processes was given."""
        from r3pp_core.launch.gpus import default_num_processes

        values = self.model_dump(include=set(LaunchConfig.model_fields))
        if values["num_processes"] is None:
            gpus = None if self.gpus is None else tuple(self.gpus)
            values["num_processes"] = default_num_processes(gpus) if one_a_gpu and self.launcher == "local" else 1
        return validated(LaunchConfig, values)

    def for_shards(self, use_launcher: bool | None) -> LaunchConfig | None:
        """For a stage that can do its work in this process as well: None says that it should.

        Where `use_launcher` is empty, ranks are started where the resource has several, or another machine's.
        """
        if use_launcher is None:
            config = self.launch_config()
            return config if config.num_ranks > 1 or config.launcher != "local" else None
        return self.launch_config(one_a_gpu=True) if use_launcher else None

    def run(self, context: dg.AssetExecutionContext, job: Job, config: LaunchConfig) -> tuple[JobResult, str]:
        """Run to the end and return the result with the label preview (one row with what is supervised, marked).

        Numbers of step messages become observations of the asset, at most one in five seconds. Cancelling the run
        asks the job to stop at the next step, waits, and leaves no process behind.
        """
        from r3pp_core.launch.registry import launcher_for

        reporter = _Reporter(context)
        result = launcher_for(config).run(job, reporter.on_message, context.log.info)
        return result, reporter.label_preview


class _Reporter:
    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self.context = context
        self.last = 0.0
        self.label_preview = ""

    def on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("kind")
        if kind == "step":
            self._observe_step(message)
        elif kind == "validation":
            self._observe({name: message[name] for name in VALIDATED if message.get(name) is not None})
        elif kind == "label_preview":
            self.label_preview = str(message["text"])

    def _observe_step(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        is_last = message.get("step") == message.get("total_steps")
        if now - self.last < MIN_SECONDS_BETWEEN_OBSERVATIONS and not is_last:
            return
        self.last = now
        self._observe({name: message[name] for name in OBSERVED if message.get(name) is not None})
        self.context.log.info(
            f"step {message.get('step')} of {message.get('total_steps')}: loss {message.get('loss'):.3f}, "
            f"about {message.get('seconds_left', 0):.0f} s left"
        )

    def _observe(self, numbers: dict[str, Any]) -> None:
        self.context.log_event(
            dg.AssetObservation(
                asset_key=self.context.asset_key,
                partition=self.context.partition_key if self.context.has_partition_key else None,
                metadata=numbers,
            )
        )
