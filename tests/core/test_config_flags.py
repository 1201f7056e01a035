"""Flags come from a config class, in both spellings, and a wrong one is one sentence."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from r3pp_core.errors import UsageError
from r3pp_core.flags import OneSentenceParser, add_config_flags, config_from, validated


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    max_level: float = Field(0.8, ge=0, le=1)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    out_dir: str
    max_rows: int | None = Field(None, ge=1, description="first rows only")
    use_lora: bool = False
    bf16: bool = Field(True, description="100% of the weights")
    kind: Literal["image", "text"] = "image"
    splits: list[str] = ["train"]
    levels: list[float] = [0.0]
    words: dict[str, str] = {}
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _consistent(self):
        if self.use_lora and self.max_rows == 13:
            raise ValueError("use_lora does not go with 13 rows")
        return self


@pytest.fixture
def parse():
    parser = OneSentenceParser(prog="prog")
    add_config_flags(parser, Config)
    return lambda *arguments: config_from(parser.parse_args(list(arguments)), Config)


def test_flags_that_are_not_given_leave_the_class_defaults(parse):
    assert parse("--out_dir", "x") == Config(out_dir="x")


def test_every_kind_of_field_takes_its_value(parse):
    line = (
        "--out_dir x --max_rows 5 --use_lora --no-bf16 --kind text --splits val test --levels 0 0.5 "
        '--inner.max_level 1 --words {"a":"b"}'
    )
    assert parse(*line.split()) == Config(
        out_dir="x",
        max_rows=5,
        use_lora=True,
        bf16=False,
        kind="text",
        splits=["val", "test"],
        levels=[0.0, 0.5],
        words={"a": "b"},
        inner=Inner(max_level=1),
    )


@pytest.mark.parametrize(
    "one, other",
    [
        ("--out_dir x --max_rows 5", "--out-dir x --max-rows 5"),
        ("--out_dir=x_y-z", "--out-dir=x_y-z"),
        ("--out_dir x --inner.max_level 0.5", "--out-dir x --inner.max-level 0.5"),
        ("--out_dir x --use_lora", "--out-dir x --use-lora"),
        ("--out_dir x --no_use_lora", "--out-dir x --no-use-lora"),
    ],
)
def test_dashes_and_underscores_are_the_same(parse, one, other):
    assert parse(*one.split()) == parse(*other.split())


def test_values_keep_their_dashes_and_underscores(parse):
    assert parse("--out_dir", "my-data_1/x-y").out_dir == "my-data_1/x-y"


@pytest.mark.parametrize(
    "line, words",
    [
        ("--out_dir x --colour red", "unrecognized arguments: --colour red"),
        ("--out_dir x --max_row 5", "unrecognized arguments: --max_row 5"),
        ("--out_dir x --max_rows five", "--max_rows: invalid int value: 'five'"),
        ("--out_dir x --max_rows 0", r"--max_rows: .*greater than or equal to 1 \(got 0\)"),
        ("--out_dir x --words red", "--words: invalid json_object value: 'red'"),
        ("--out_dir x --kind sound", "--kind: invalid choice: 'sound'"),
        ("--out_dir x --inner.max_level 2", r"--inner.max_level: .* \(got 2.0\)"),
        ("--out_dir x --use_lora --max_rows 13", "use_lora does not go with 13 rows"),
        ("--max_rows 3", "--out_dir: Field required"),
    ],
)
def test_a_wrong_flag_is_one_sentence_with_the_flag_and_its_value(parse, line, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse(*line.split())
    assert "\n" not in str(caught.value)
    assert not str(caught.value).startswith("--:")


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(UsageError, match="--colour: Extra inputs are not permitted"):
        validated(Config, {"out_dir": "x", "colour": "red"})


def test_help_shows_defaults_and_descriptions(capsys):
    parser = OneSentenceParser(prog="prog")
    add_config_flags(parser, Config)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "first rows only (default None)" in text
    assert "100% of the weights (default True)" in text
    assert "(required)" in text
