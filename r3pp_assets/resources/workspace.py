"""Where artefacts live and which profile makes them."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import ConfigDict, Field

from r3pp_assets.launchpad import one_of, refused_at_launch
from r3pp_core.champion.config import GateConfig
from r3pp_core.flags import validated
from r3pp_core.profiles import PROFILES, SOURCE_HEADING, Profile, profile_named
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.recipes.registry import recipe
from r3pp_core.workspace import Workspace

SAMPLE_PICTURES = 20  # its val has 23 infographics

if TYPE_CHECKING:
    from r3pp_core.model.config import R3Config

    ProfileName = str
else:
    ProfileName = one_of(*PROFILES)


@refused_at_launch(lambda workspace: workspace.gate_config)
class WorkspaceResource(dg.ConfigurableResource):
    """The workspace's root, the profile, and a local folder of Parquet files that replaces the profile's source."""

    model_config = ConfigDict(use_enum_values=True)

    root: str = Field(pattern="^/", description="absolute path of the workspace")
    profile: ProfileName = Field("sample", description="what is fetched, trained and asked by default")
    source: str | None = Field(None, description="folder of Parquet in the Hub's layout; empty: the profile's own")
    gate: dict[str, float] = Field({}, description=f"what a champion has to show: {', '.join(GateConfig.model_fields)}")

    @property
    def paths(self) -> Workspace:
        return Workspace(Path(self.root))

    @property
    def settings(self) -> Profile:
        return profile_named(self.profile)

    @property
    def recipe_model(self) -> "R3Config":
        """What the profile's recipe makes of R3: base sees pictures and prompts of that size, queries are cut alike."""
        return recipe(self.settings.recipe)(RunPaths.of(self.paths)).resolved_r3(None, None)

    @property
    def heading(self) -> str | None:
        """What stands above every score."""
        is_own = self.source is not None and self.profile == "sample"
        return SOURCE_HEADING if is_own else self.settings.heading

    @property
    def gate_config(self) -> GateConfig:
        """On a local source, which may be few rows, and in a smoke test the gate asks for what there is, and so it does
        of the embedded sample's pictures."""
        if self.source is not None or self.profile == "smoke":
            least = {"min_rows": 1, "min_pictures": 1}
        else:
            least = {"min_pictures": SAMPLE_PICTURES} if self.profile == "sample" else {}
        return validated(GateConfig, {**least, **self.gate})
