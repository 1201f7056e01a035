"""Where a run reads and writes; the same for every recipe."""

from dataclasses import dataclass

from r3pp_core.workspace import Workspace


@dataclass(frozen=True)
class RunPaths:
    train_jsonl: str
    val_jsonl: str
    image_root: str
    index_dir: str
    text_encoder_dir: str
    image_encoder_dir: str
    output_dir: str
    backbone_dir: str

    @classmethod
    def of(cls, workspace: Workspace) -> "RunPaths":
        return cls(
            train_jsonl=str(workspace.merged("train")),
            val_jsonl=str(workspace.merged("val")),
            image_root=str(workspace.image_root),
            index_dir=str(workspace.indices_dir),
            text_encoder_dir=str(workspace.model_dir("minilm")),
            image_encoder_dir=str(workspace.model_dir("clip")),
            output_dir=str(workspace.checkpoint_dir()),
            backbone_dir=str(workspace.model_dir("backbone")),
        )

    def data_fields(self) -> dict[str, str]:
        """The fields of TrainConfig that say where the data lie."""
        return {
            "train_jsonl": self.train_jsonl,
            "val_jsonl": self.val_jsonl,
            "image_root": self.image_root,
            "index_dir": self.index_dir,
            "text_encoder_dir": self.text_encoder_dir,
            "image_encoder_dir": self.image_encoder_dir,
            "output_dir": self.output_dir,
        }
