"""What may happen to a row, by name; apart from what does it, so that a training's config loads no pictures."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from r3pp_core.errors import UsageError

# Each in the order of application (image.IMAGE_OPERATORS, text.TEXT_OPERATORS).
IMAGE_NAMES = (
    *("occlusion", "colour_jitter", "downsample", "gaussian_blur"),
    *("motion_blur", "gaussian_noise", "jpeg", "crop"),
)
TEXT_NAMES = ("truncation", "token_drop", "ocr_confusion", "char_noise")


class CorruptionConfig(BaseModel):
    """What may happen to a row. Raises UsageError for an operator that does not exist, or none to choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="another seed, other draws")
    damage: Literal["image", "text", "both"] = Field(
        default="both", description="the picture with its coupled text, the text alone, or text operators on top"
    )
    image_operators: list[str] = Field(default=list(IMAGE_NAMES), description="the image operators to draw from")
    text_operators: list[str] = Field(default=list(TEXT_NAMES), description="the text operators to draw from")
    max_operators: int = Field(
        default=2, ge=1, description="most operators of each kind on one row; the number is drawn"
    )

    @field_validator("image_operators")
    @classmethod
    def _known_image_operators(cls, names: list[str]) -> list[str]:
        return _known("image", names, IMAGE_NAMES)

    @field_validator("text_operators")
    @classmethod
    def _known_text_operators(cls, names: list[str]) -> list[str]:
        return _known("text", names, TEXT_NAMES)

    @model_validator(mode="after")
    def _something_to_draw(self) -> "CorruptionConfig":
        if self.damage != "text" and not self.image_operators:
            raise UsageError(f"damage {self.damage!r} needs at least one of image_operators; the list is empty")
        if self.damage != "image" and not self.text_operators:
            raise UsageError(f"damage {self.damage!r} needs at least one of text_operators; the list is empty")
        return self


def _known(kind: str, names: list[str], known: tuple[str, ...]) -> list[str]:
    for name in names:
        if name not in known:
            raise UsageError(f"unknown {kind} operator {name!r}; choose from {', '.join(known)}")
    return names
