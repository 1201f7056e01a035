"""How fast training is against what cannot be avoided; every figure is a ratio of two runs in one process or machine.

    python benchmarks/training.py [loop|teacher|trainer|logits|modules|card ...] [--rounds 5] [--backbone DIR]

loop       a step of the whole loop (retrieval, damage, logging) against forward, backward, clipping and AdamW alone on
           batches that are ready.
teacher    a step with the teacher against a step without it plus one forward without gradients.
trainer    samples a second without retrieval and R3 against Hugging Face's Trainer: same model, rows, batch, workers.
logits     peak memory of a forward and backward at length 2,048 with a vocabulary of 151,936, logits at answer
           positions only against logits everywhere.
modules    parameters of the R3 modules at D = 4096.
card       on a GPU only: tokens a second, share of the card's peak FLOPs and peak memory of LoRA on the 8B architecture
           with random weights, batch 1, 1,024 image tokens. Another backbone with --backbone.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ingest import rows_of, sample_source, say, verdict
from ingest_tables import WORDS

from r3pp_core.datasets.registry import DATASETS
from r3pp_core.jsonl import write_jsonl
from r3pp_core.pictures import open_picture
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.minilm import copy_packaged_minilm
from r3pp_core.sample.backbones import build_small_backbone, build_small_clip
from r3pp_core.training.config import TrainConfig

NUM_PICTURES = 96
BATCH_SIZE = 8
STEPS_A_ROUND = 6
LENGTH, VOCABULARY = 2048, 151_936
# Dense bf16 products a second by the makers' data sheets.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
IMAGE_PIXELS = 1024 * 32 * 32


def world(folder: Path) -> dict[str, str]:
    """The sample's pictures with drawn words as questions, texts and answers; small models; indices."""
    rng = np.random.default_rng(0)
    source = sample_source(folder)
    pictures = {row.image: None for dataset in DATASETS for row in rows_of(source, dataset) if row.image}
    rows = []
    for number, data in enumerate(list(pictures)[:NUM_PICTURES]):
        path = folder / "data" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        open_picture(data).save(path)
        words = " ".join(rng.choice(WORDS, rng.integers(10, 61)))
        row = {"id": f"chartqa/train/{number}", "dataset": "chartqa", "image_path": path.name, "ocr_conf": 0.9}
        row |= {"question": f"What is {words[:40]}?", "answer": words[-20:], "pseudo_text": words}
        rows.append({**row, "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    write_jsonl(folder / "train.jsonl", rows)
    models = {name: folder / "models" / name for name in ("backbone", "clip", "minilm")}
    build_small_backbone(models["backbone"], [f"{row['question']} {row['pseudo_text']}" for row in rows] * 3)
    build_small_clip(models["clip"])
    copy_packaged_minilm(models["minilm"])
    for kind, encoder in (("text", models["minilm"]), ("image", models["clip"])):
        build_index(kind, folder / "train.jsonl", folder / "data", folder / "indices", encoder)
    return {
        "model_name": str(models["backbone"]),
        "train_jsonl": str(folder / "train.jsonl"),
        "image_root": str(folder / "data"),
        "index_dir": str(folder / "indices"),
        "text_encoder_dir": str(models["minilm"]),
        "image_encoder_dir": str(models["clip"]),
    }


def config_of(paths: dict[str, str], folder: Path, **fields: Any) -> TrainConfig:
    """All weights of the small backbone, a batch of eight, one thread for the model and one for preparing."""
    values = {
        **paths,
        "output_dir": str(folder / "checkpoints"),
        "batch_size": BATCH_SIZE,
        "grad_accum": 1,
        "max_pixels": 65_536,
        "eval_rows": 0,
        "save_every": 10**6,
        "max_steps": 10**6,
        "num_workers": 1,
        "num_threads": 1,
        "r3": {"bottleneck": 64, "max_query_chars": 160, "prompt": {"max_ocr_chars": 160, "max_context_chars": 120}},
        "losses": {"kl": 0.0},
        "curriculum": {"kind": "constant", "max_level": 0.5},
        **fields,
    }
    return TrainConfig.model_validate(values)


def median_ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(one / other for one, other in pairs)


def per_step(work: Callable[[], object], num_steps: int) -> float:
    started = time.monotonic()
    work()
    return (time.monotonic() - started) / num_steps


# loop


def measure_loop(paths: dict[str, str], folder: Path, rounds: int) -> None:
    """Rounds of the loop and of bare steps in turn, on the same batches."""
    from r3pp_core.model.reconstruction import step_means
    from r3pp_core.progress import silent
    from r3pp_core.training.log import StepLog
    from r3pp_core.training.loop import steps_ahead, take_step
    from r3pp_core.training.setup import set_up

    run = set_up(config_of(paths, folder, run="loop"), silent)
    run.config.run_dir.mkdir(parents=True)
    run.model.train()
    log = StepLog(run.config, lambda kind, **fields: None, silent, first_step=0, speaks=True)
    ahead = steps_ahead(run)
    ready: list[Any] = []

    def whole() -> None:
        for _ in range(STEPS_A_ROUND):
            ready.append(take_step(run, ahead, log))

    def bare() -> None:
        for part in ready:
            backend, (batch,) = run.backend, part.batches
            backend.zero_grad()
            losses = run.model(batch, step_means([batch.evidence]))
            losses.total(run.config.losses, 1 / batch.num_answer_tokens, 1.0, 1.0).backward()
            backend.update()

    pairs = []
    for _ in range(rounds + 1):
        ready.clear()
        took = per_step(whole, STEPS_A_ROUND)
        pairs.append((took, per_step(bare, STEPS_A_ROUND)))
    ahead.close()
    ratio = median_ratio(pairs[1:])
    step_ms = 1000 * statistics.median(one for one, _ in pairs[1:])
    say(f"loop: a step of {step_ms:.0f} ms is {ratio:.3f} of the bare one, {verdict(ratio, 1.10, at_least=False)}")


# teacher


def measure_teacher(paths: dict[str, str], folder: Path, rounds: int) -> None:
    import torch

    from r3pp_core.model.collation import to_device
    from r3pp_core.progress import silent
    from r3pp_core.training.loop import steps_ahead
    from r3pp_core.training.setup import set_up
    from r3pp_core.training.step import train_step

    run = set_up(config_of(paths, folder, run="teacher", losses={"kl": 0.5}), silent)
    run.model.train()
    ahead = steps_ahead(run)
    parts = [ahead.take() for _ in range(STEPS_A_ROUND)]
    ahead.close()
    without = config_of(paths, folder, losses={"kl": 0.0})

    def with_teacher() -> None:
        for step, part in enumerate(parts):
            train_step(run.backend, part.batches, run.config, run.teacher)
            run.teacher.update(step)

    def without_it() -> None:
        for part in parts:
            train_step(run.backend, part.batches, without)

    def forwards() -> None:
        with torch.no_grad():
            for part in parts:
                for batch in part.batches:
                    run.model(to_device(batch.clean, run.model.device), only_logits=True)

    pairs = []
    for _ in range(rounds + 1):
        times = [per_step(work, STEPS_A_ROUND) for work in (with_teacher, without_it, forwards)]
        pairs.append((times[0], times[1] + times[2]))
    ratio = median_ratio(pairs[1:])
    say(f"teacher: {ratio:.3f} of a step without it and one forward, {verdict(ratio, 1.1, at_least=False)}")


# trainer


def measure_trainer(paths: dict[str, str], folder: Path, rounds: int) -> None:
    """Both from pictures and rows on disk, prepared by one worker, with our prompt."""
    fields = {"index_dir": None, "curriculum": {"kind": "constant", "max_level": 0.0}, "run": "ours"}
    pairs = [(_ours(paths, folder, fields), _trainer(paths, folder, fields)) for _ in range(rounds + 1)]
    ratio = median_ratio(pairs[1:])
    ours = statistics.median(one for one, _ in pairs[1:])
    say(f"trainer: {ours:.1f} samples/s are {ratio:.2f} of the Trainer's, {verdict(ratio, 1.0, at_least=True)}")


def _bare_r3() -> dict[str, Any]:
    from r3pp_core.model.config import R3Config

    return R3Config.bare(prompt={"max_ocr_chars": 160}).model_dump()


def _ours(paths: dict[str, str], folder: Path, fields: dict[str, Any]) -> float:
    from r3pp_core.progress import silent
    from r3pp_core.training.log import StepLog
    from r3pp_core.training.loop import steps_ahead, take_step
    from r3pp_core.training.setup import set_up

    run = set_up(config_of(paths, folder, **fields, r3=_bare_r3()), silent)
    run.config.run_dir.mkdir(parents=True, exist_ok=True)
    run.model.train()
    log, ahead = StepLog(run.config, lambda kind, **rest: None, silent, first_step=0, speaks=True), steps_ahead(run)
    take_step(run, ahead, log)
    took = per_step(lambda: [take_step(run, ahead, log) for _ in range(2 * STEPS_A_ROUND)], 2 * STEPS_A_ROUND)
    ahead.close()
    return BATCH_SIZE / took


def _trainer(paths: dict[str, str], folder: Path, fields: dict[str, Any]) -> float:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from r3pp_core.model.collation import collate_encoded, encode_row
    from r3pp_core.model.config import ARMS
    from r3pp_core.progress import silent
    from r3pp_core.training.setup import set_up

    run = set_up(config_of(paths, folder, **fields, r3=_bare_r3()), silent)
    model, arm = run.model, ARMS["base_ocr"]

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, number: int) -> Any:
            row = run.preparer.prepare([run.train_rows.row(number % len(run.train_rows))], level=0.0).rows[0]
            return encode_row(row, model.tokenizer, model.config, arm, True, model.merge_size)

    def collate(rows: list[Any]) -> dict[str, Any]:
        batch = collate_encoded(rows, model.tokenizer, model.config, arm=arm, padding_side="right")
        names = ("input_ids", "attention_mask", "mm_token_type_ids", "labels", "pixel_values", "image_grid_thw")
        return {name: getattr(batch, name) for name in names}

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == 1:
                self.started = time.monotonic()
            self.ended = time.monotonic()

    clock, steps = Clock(), 2 * STEPS_A_ROUND + 1
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=steps,
        learning_rate=1e-5,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_num_workers=1,
        use_cpu=not torch.cuda.is_available(),
    )
    model.backbone.train()
    Trainer(model.backbone, arguments, train_dataset=Rows(), data_collator=collate, callbacks=[clock]).train()
    return BATCH_SIZE * (steps - 1) / (clock.ended - clock.started)


# logits


def measure_logits(paths: dict[str, str]) -> None:
    """Each in a process of its own, less what loading alone takes."""
    peaks = {}
    for which in ("nothing", "answers", "all"):
        command = [sys.executable, __file__, "one-forward", "--which", which, "--backbone", paths["model_name"]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[which] = int(done.stdout.split()[-1])
    ratio = peaks["answers"] / peaks["all"]
    above = (peaks["answers"] - peaks["nothing"]) / (peaks["all"] - peaks["nothing"])
    megabytes = {name: value // 2**20 for name, value in peaks.items()}
    say(
        f"logits: peak {megabytes['answers']} MB against {megabytes['all']} MB, {ratio:.2f} "
        f"({above:.2f} above the {megabytes['nothing']} MB of a loaded model), {verdict(ratio, 0.6, at_least=False)}"
    )


def one_forward(which: str, backbone_dir: str) -> None:
    """Prints this process's peak memory in bytes."""
    import torch
    from transformers import AutoConfig, Qwen3VLForConditionalGeneration

    torch.set_num_threads(1)
    config = AutoConfig.from_pretrained(backbone_dir)
    config.text_config.vocab_size = VOCABULARY
    config.text_config.max_position_embeddings = 2 * LENGTH
    model = Qwen3VLForConditionalGeneration(config)
    model.requires_grad_(False)
    model.model.language_model.layers[0].self_attn.v_proj.weight.requires_grad_()
    ids = torch.randint(0, 50, (1, LENGTH))
    targets = ids[:, -9:-1]
    if which == "answers":
        at_answer = torch.zeros(1, LENGTH, dtype=torch.bool)
        at_answer[:, -9:-1] = True
        logits = model(input_ids=ids, logits_to_keep=at_answer, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.float().view(-1, VOCABULARY), targets.view(-1)).backward()
    elif which == "all":
        logits = model(input_ids=ids, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits[:, -9:-1].float().reshape(-1, VOCABULARY), targets.view(-1)).backward()
    say(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


# modules


def measure_modules() -> None:
    from r3pp_core.model.config import R3Config
    from r3pp_core.model.reconstruction import Reconstruction

    for extra in ({}, {"use_router": True}):
        modules = Reconstruction(R3Config(**extra), 4096, 1.0)
        millions = sum(parameter.numel() for parameter in modules.parameters()) / 1e6
        say(f"modules: {millions:.2f} M parameters at D = 4096 {extra or ''}, {verdict(millions, 25, at_least=False)}")


# card


def measure_card(paths: dict[str, str], folder: Path, backbone: str | None, rounds: int) -> None:
    import torch

    from r3pp_core.model.backbone import Backbone, load_backbone
    from r3pp_core.model.collation import collate, to_device
    from r3pp_core.model.config import R3Config
    from r3pp_core.model.preparation import patches
    from r3pp_core.model.probe import probe_row
    from r3pp_core.model.r3 import R3Model

    if not torch.cuda.is_available() and not backbone:
        say("card: no GPU here, not measured")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device == "cuda" else "float32"
    loaded = load_backbone(backbone or paths["model_name"], dtype=dtype, device=device)
    if not backbone:
        loaded = Backbone(**{**vars(loaded), "model": _random_8b(loaded, device), "name": "random 8B"})
    config = R3Config(adapter="lora", max_pixels=IMAGE_PIXELS)
    model = R3Model(loaded, config).train()
    model.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    row = probe_row(config, model.image_processor)
    from dataclasses import replace

    from PIL import Image

    picture = Image.new("RGB", (1024, 1024), "white")
    pixel_values, grid_thw = patches(picture, model.image_processor, IMAGE_PIXELS)
    row = replace(row, damaged=replace(row.damaged, pixel_values=pixel_values, grid_thw=grid_thw))
    batch = to_device(
        collate([row], model.tokenizer, config, with_answers=True, padding_side="right", merge_size=model.merge_size),
        device,
    )
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).ce_sum.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    took = statistics.median(per_step(step, 1) for _ in range(max(3, rounds)))
    flops = _flops(model, batch)
    num_tokens = int(batch.attention_mask.sum())
    say(f"card: {num_tokens} tokens, {took * 1000:.0f} ms a step, {num_tokens / took:.0f} tokens/s")
    if device == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((value for card, value in PEAK_FLOPS.items() if card in name), None)
        share = f"{flops / took / peak:.1%} of its peak" if peak else "peak unknown"
        say(f"card: {name}, {share}, peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def _flops(model: Any, batch: Any) -> float:
    """Of the model, recomputation left out: a frozen weight costs a forward and the gradient of its input."""
    sizes = {name: parameter.numel() for name, parameter in model.backbone.named_parameters()}
    text = sum(size for name, size in sizes.items() if "language_model.layers." in name)
    vision = sum(size for name, size in sizes.items() if "visual." in name)
    num_tokens, num_patches = int(batch.attention_mask.sum()), int(batch.image_grid_thw.prod())
    shape = model.backbone.config.text_config
    attention = 2 * 2 * shape.num_hidden_layers * num_tokens**2 / 2 * shape.num_attention_heads * shape.head_dim
    # No gradient reaches the frozen vision tower.
    return 2 * (2 * text * num_tokens + attention) + 2 * vision * num_patches


def _random_8b(loaded: Any, device: str) -> Any:
    """Qwen3-VL-8B's sizes with random weights, made on the device in bf16; the small backbone's token ids."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    small = loaded.model.config
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5_000_000.0, "mrope_section": [24, 20, 20]},
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "patch_size": 16,
            "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        image_token_id=small.image_token_id,
        video_token_id=small.video_token_id,
        vision_start_token_id=small.vision_start_token_id,
        vision_end_token_id=small.vision_end_token_id,
    )
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen3VLForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
    return model


PARTS = ("loop", "teacher", "trainer", "logits", "modules", "card")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "one-forward"], default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many")
    parser.add_argument("--backbone", help="for card: a folder instead of random weights")
    parser.add_argument("--which", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if args.parts == ["one-forward"]:
        one_forward(args.which, args.backbone)
        return
    with tempfile.TemporaryDirectory(prefix="r3pp-training-") as name:
        folder = Path(name)
        paths = world(folder)
        say(json.dumps({"cores": len(os.sched_getaffinity(0)), "rounds": args.rounds, "batch": BATCH_SIZE}))
        parts: dict[str, Callable[[], None]] = {
            "loop": lambda: measure_loop(paths, folder, args.rounds),
            "teacher": lambda: measure_teacher(paths, folder, args.rounds),
            "trainer": lambda: measure_trainer(paths, folder, args.rounds),
            "logits": lambda: measure_logits(paths),
            "modules": measure_modules,
            "card": lambda: measure_card(paths, folder, args.backbone, args.rounds),
        }
        for part in args.parts:
            parts[part]()


if __name__ == "__main__":
    main()
