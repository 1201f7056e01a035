"""Help works everywhere; a mistake is one sentence on stderr with the right exit code."""

import subprocess
import sys

import pytest

from r3pp_core.cli import main, parser
from r3pp_core.cli.training import train_config
from r3pp_core.errors import UsageError
from r3pp_core.training.config import TrainConfig

COMMANDS = [
    "download",
    "ocr",
    "unify",
    "merge",
    "sample",
    "download-models",
    "index",
    "train",
    "plan",
    "export",
    "recipe",
    "evaluate",
    "compare",
    "promote",
    "rollback",
    "champion",
    "lineage",
    "verify",
    "ask",
    "preview",
    "doctor",
    "demo",
    "ui",
]


def test_the_commands_are_those_of_the_runbook(r3pp):
    said = r3pp("--help")
    assert said.code == 0
    (commands,) = [action.choices for action in parser()._actions if action.dest == "command"]
    assert list(commands or ()) == COMMANDS
    assert all(command in said.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_works(r3pp, command):
    said = r3pp(f"{command} --help")
    assert said.code == 0
    assert said.out.startswith(f"usage: r3pp {command}")
    assert said.err == ""


def test_without_a_command_the_help_is_shown_with_code_2(r3pp):
    said = r3pp("")
    assert said.code == 2
    assert "usage: r3pp" in said.out


@pytest.mark.parametrize(
    "line, words",
    [
        ("trian", "invalid choice: 'trian' (choose from"),
        ("download", "required: dataset, --out_dir"),
        ("download mnist --out_dir raw", "unknown data set 'mnist': choose one of screenqa, chartqa, infovqa"),
        ("download chartqa --out_dir raw --source nowhere", "--source nowhere is not a folder"),
        ("download chartqa --out_dir raw --splits dev", "unknown split dev: choose from train, val, test"),
        (
            "download chartqa --out_dir raw --max_rows 0",
            "--max_rows: Input should be greater than or equal to 1 (got 0)",
        ),
        ("download chartqa --out_dir raw --max-rows many", "argument --max_rows: invalid int value: 'many'"),
        ("download chartqa --out_dir raw --colour red", "unrecognized arguments: --colour red"),
        ("download chartqa --out_dir raw --image_format gif", "invalid choice: 'gif'"),
        ("ocr --dataset mnist --raw_dir raw", "unknown data set 'mnist'"),
        ("ocr --dataset chartqa --raw_dir raw --launcher cloud", "invalid choice: 'cloud'"),
        ("ocr --dataset chartqa --raw_dir raw --num_processes 0", "--num_processes: Input should be greater than"),
        ("ocr --dataset chartqa --raw_dir raw --min_conf 2", "--min_conf: Input should be less than or equal to 1"),
        ("unify --dataset mnist --raw_dir raw --out_dir u", "unknown data set 'mnist'"),
        ("merge --unified_dir u --splits dev", "unknown split 'dev'"),
        ("merge --unified_dir u --datasets mnist", "unrecognized arguments: --datasets mnist"),
        ("merge --unified_dir u --train ../mine.jsonl", "table '../mine.jsonl' is not the name of a file in u"),
        ("merge --unified_dir u --num_workers 0", "--num_workers: Input should be greater than or equal to 1"),
        ("index --jsonl t --image_root r --out_dir i --batch_size 0", "--batch_size: "),
        ("download-models --out_dir m --profile tiny", "invalid choice: 'tiny'"),
        ("train --bf16 --fp16", "choose one of bf16 and fp16"),
        ("train --lr -1", "--lr: Input should be greater than 0"),
        ("train --recipe nothing", "unknown recipe 'nothing': choose one of sample"),
        ("train --config nowhere.json", "--config nowhere.json is not a readable JSON file"),
        ("train --backend mpi", "invalid choice: 'mpi'"),
        ("train --num_processes 0", "--num_processes: "),
        ("recipe nothing", "unknown recipe 'nothing'"),
        ("evaluate --checkpoint_dir c", "required: --val_jsonl, --image_root, --index_dir, --out_dir"),
        ("demo --source nowhere", "--source nowhere is not a folder"),
        ("ui --port http", "argument --port: invalid int value: 'http'"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_code_2(r3pp, tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    said = r3pp(line)
    assert said.code == 2
    assert words in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line, words",
    [
        ("download chartqa --out_dir raw --source .", "no Parquet file for chartqa in ."),
        ("ocr --dataset chartqa --raw_dir raw", "nothing finished at raw/manifest.json; run `r3pp download chartqa"),
        ("unify --dataset chartqa --raw_dir raw --out_dir u", "run `r3pp download chartqa"),
        ("merge --unified_dir u", "screenqa_unified_train.jsonl does not exist; run `r3pp unify --dataset screenqa"),
        ("index --jsonl t.jsonl --image_root r --out_dir i", "t.jsonl does not exist"),
        ("export --checkpoint_dir c --out_dir e", "no finished checkpoint in c; train first"),
        ("evaluate --checkpoint_dir c --val_jsonl v --image_root r --index_dir i --out_dir o", "c holds no model"),
    ],
)
def test_a_failure_is_one_sentence_with_the_remedy_and_code_1(r3pp, tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    said = r3pp(line)
    assert said.code == 1
    assert words in said.err
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def run(*arguments):
    command = [sys.executable, "-m", "r3pp_core.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments, code", [(["download", "mnist", "--out_dir", "x"], 2), (["merge", "--unified_dir", "x"], 1)]
)
def test_the_real_process_ends_with_that_code_and_no_traceback(arguments, code):
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


def test_the_parser_loads_no_heavy_library():
    script = (
        "import sys; from r3pp_core.cli import parser; parser()\n"
        "print([m for m in ('torch', 'transformers', 'faiss', 'datasets', 'pandas', 'rapidocr', 'dagster') "
        "if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_an_interruption_is_one_word_and_code_130(r3pp, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("r3pp_core.cli.training.resolve", interrupt)
    said = r3pp("recipe sample")
    assert (said.code, said.err) == (130, "interrupted\n")


def config_of(line):
    return train_config(parser().parse_args(["train", *line.split()]))


def test_train_takes_the_runbooks_flags_in_both_spellings():
    line = (
        "--model_name m --train_jsonl t --val_jsonl v --image_root r --output_dir o --run mine --bf16 --use_lora "
        "--batch_size 2 --grad_accum 4"
    )
    expected = TrainConfig(
        model_name="m",
        train_jsonl="t",
        val_jsonl="v",
        image_root="r",
        output_dir="o",
        run="mine",
        bf16=True,
        use_lora=True,
        batch_size=2,
        grad_accum=4,
    )
    assert config_of(line) == config_of(line.replace("_", "-")) == expected


def test_flags_win_over_a_config_file_and_that_over_the_recipe(tmp_path):
    (tmp_path / "c.json").write_text('{"max_steps": 7, "lr": 0.5, "r3": {"k": 2}}')
    config = config_of(
        f"--recipe sample --workspace w --config {tmp_path}/c.json --max_steps 9 --r3.use_gate --no-use_lora"
    )
    assert (config.max_steps, config.lr, config.r3.k, config.r3.bottleneck) == (9, 0.5, 2, 64)
    assert config.train_jsonl == "w/data/unified/train.jsonl"


@pytest.mark.parametrize("text", ["not JSON", "[1]"])
def test_a_config_file_that_is_no_json_object_is_named(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError, match=r"--config .*c.json"):
        config_of(f"--config {tmp_path}/c.json")


def test_a_printed_recipe_is_a_whole_config_that_train_takes(r3pp, tmp_path):
    said = r3pp("recipe sample --workspace w")
    (tmp_path / "c.json").write_text(said.out)
    assert config_of(f"--config {tmp_path}/c.json") == config_of("--recipe sample --workspace w")


@pytest.mark.parametrize(
    "flags",
    [
        ["--num_processes", "2"],
        ["--backend", "fsdp", "--deepspeed_config", "configs/deepspeed_zero3.json"],
        ["--backend", "deepspeed", "--deepspeed_config", "nowhere.json"],
    ],
)
def test_what_a_backend_cannot_honour_is_refused_before_anything_is_written(flags, tmp_path, capsys):
    assert main(["train", "--output_dir", str(tmp_path / "runs"), *flags]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(capsys):
    assert main(["train", "--output_dir", "/proc/none"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "/proc/none" in said


def test_pictures_that_are_not_ours_are_left_alone(tmp_path, capsys):
    """`download` makes an images folder of its own, and never in place of another."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"mine")
    assert main(["download", "chartqa", "--out_dir", str(tmp_path), "--source", str(tmp_path)]) == 1
    assert "was not made by r3pp download" in capsys.readouterr().err
    assert (tmp_path / "images" / "holiday.jpg").read_bytes() == b"mine"


def test_preview_draws_every_operator_at_every_level(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 48), "white").save(tmp_path / "a.png")
    out = tmp_path / "sheet.png"
    assert main(["preview", str(tmp_path / "a.png"), "--out_file", str(out), "--levels", "0", "0.8"]) == 0
    assert Image.open(out).width > 2 * 240


@pytest.mark.parametrize("name", ["sample", "sample_control", "smoke_control"])
def test_the_plan_of_a_sample_s_recipe_wants_the_sample_s_own_backbone(r3pp, tmp_path, name):
    said = r3pp(f"plan --recipe {name} --gpus 1xH100-80G --workspace {tmp_path}")
    assert said.code == 1
    assert "backbone" in said.err and "Qwen3-VL-8B" not in said.out
