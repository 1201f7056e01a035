"""Where artefacts live and which profile makes them."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from r3pp_core.champion.config import GateConfig
from r3pp_core.flags import validated
from r3pp_core.profiles import PROFILES, SOURCE_HEADING, Profile, profile_named
from r3pp_core.workspace import Workspace


class WorkspaceResource(dg.ConfigurableResource):
    """The workspace's root, the profile, and a local folder of Parquet files that replaces the profile's source."""

    root: str = Field(description="absolute path of the workspace")
    profile: str = Field("sample", description=", ".join(PROFILES))
    source: str | None = Field(None, description="folder of Parquet in the Hub's layout; empty: the profile's own")
    gate: dict[str, float] = Field({}, description=f"what a champion has to show: {', '.join(GateConfig.model_fields)}")

    @property
    def paths(self) -> Workspace:
        return Workspace(Path(self.root))

    @property
    def settings(self) -> Profile:
        return profile_named(self.profile)

    @property
    def heading(self) -> str | None:
        """What stands above every score."""
        is_own = self.source is not None and self.profile == "sample"
        return SOURCE_HEADING if is_own else self.settings.heading

    @property
    def gate_config(self) -> GateConfig:
        """On a local source, which may be few rows, and in a smoke test the gate asks for what there is."""
        few = self.source is not None or self.profile == "smoke"
        return validated(GateConfig, {**({"min_rows": 1} if few else {}), **self.gate})
