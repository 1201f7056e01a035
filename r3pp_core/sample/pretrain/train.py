"""Pre-training: lists and pictures of words, pages of text, things in pictures, whole pages. Resumable, seeded, logged.

`out_dir` holds the drawn pages (`pages/`), the tokenizer and the last state (`state.pt`), a line a hundred steps
(`log.jsonl`), and in the end the backbone in the Hub's layout (`backbone/`).
"""

import json
import math
import random
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3pp_core.progress import Progress, silent
from r3pp_core.sample.pretrain.config import PretrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from r3pp_core.sample.pretrain.packing import Packed

LOG = "log.jsonl"
_LOG_EVERY = 100
_NUM_TOKENIZER_GROUPS = 300
_NUM_HELD_OUT_STEPS = 50
_NUM_NAMING_BATCHES = 4
_WARM_UP_STEPS = 150
_COUNTS = ("lists_done", "names_done", "step", "seconds")


def pretrain(
    out_dir: Path,
    config: PretrainConfig = PretrainConfig(),
    progress: Progress = silent,
    *,
    earlier: Path | None = None,
    max_steps: int | None = None,
) -> dict[str, Any]:
    """Make the backbone in `out_dir/backbone`, going on where an earlier call stopped; returns the held-out accuracies.

    `earlier` is the backbone that an earlier sitting on another machine left, beside its log: this one goes on from
    its step, with the optimizer's moments anew. `max_steps` ends this sitting before the last step.
    Raises R3Error when `out_dir` holds a run of another config, or `earlier` no log.
    """
    import torch

    from r3pp_core.sample.pretrain.pool import ensure_pool

    torch.set_num_threads(config.num_threads)
    run = _Run(out_dir, config, progress)
    ensure_pool(out_dir / "pages", config.seed, config.num_groups, config.num_threads, progress)
    run.start(earlier)
    run.learn_lists()
    last = min(config.steps, max_steps or config.steps)
    run.learn_pages(min(config.lookup_steps, last))
    if last > config.lookup_steps:
        run.learn_names()
        run.learn_pages(last)
    return run.finish()


class _Run:
    """The state of one run: model, optimizer, counts, log."""

    def __init__(self, out_dir: Path, config: PretrainConfig, progress: Progress) -> None:
        self.out_dir, self.config, self.progress = out_dir, config, progress
        self.lists_done, self.names_done, self.step = 0, 0, 0
        self.seconds = 0.0
        self.given: Tensor | None = None  # what the vision tower last gave for the cells of its pictures

    def start(self, earlier: Path | None) -> None:
        """Tokenizer and model, new, from the last state, or from an earlier sitting."""
        import torch
        from transformers import Qwen3VLForConditionalGeneration
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        from r3pp_core.errors import R3Error
        from r3pp_core.model.patch_product import multiply_patches
        from r3pp_core.sample.backbones import save_image_processor, save_qwen
        from r3pp_core.sample.pretrain.first_weights import set_first_weights
        from r3pp_core.sample.pretrain.naming import Words
        from r3pp_core.sample.pretrain.questions_apart import use_questions_apart

        first = self.out_dir / "first"
        asked = {**self.config.model_dump(mode="json"), "num_threads": None}
        self.tokenizer = ensure_tokenizer(self.out_dir / "tokenizer", self.config.seed, self.progress)
        if not (first / "config_of_run.json").exists():
            self.tokenizer.save_pretrained(first)
            save_qwen(first, self.tokenizer, self.config.seed)
            save_image_processor(first)
            (first / "config_of_run.json").write_text(json.dumps(asked))
        if json.loads((first / "config_of_run.json").read_text()) != asked:
            raise R3Error(f"{self.out_dir} holds a run of another config; choose another folder")
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(first)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(first, dtype=torch.float32).train()
        use_questions_apart(self.model)
        multiply_patches(self.model.model.visual.patch_embed)
        set_first_weights(self.model, self.tokenizer, self.config.seed)
        self.words = Words(self.model, self.tokenizer)
        self.model.model.visual.register_forward_hook(self._keep_given)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self.config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=self.config.lr,
            betas=(0.9, 0.98),
        )
        if (state_path := self.out_dir / "state.pt").exists():
            state = torch.load(state_path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name in _COUNTS:
                setattr(self, name, state[name])
            self.progress(f"pretrain: going on at step {self.step} of {self.config.steps}")
        elif earlier is not None:
            self._go_on_from(earlier)

    def _go_on_from(self, earlier: Path) -> None:
        from safetensors.torch import load_file

        from r3pp_core.errors import R3Error

        log = earlier / LOG
        if not log.is_file():
            raise R3Error(f"{earlier} has no {LOG}; give the folder that an earlier sitting left")
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if (earlier / "tokenizer.json").read_bytes() != (self.out_dir / "tokenizer" / "tokenizer.json").read_bytes():
            raise R3Error(
                f"{earlier} was made with another tokenizer; give the folder of an earlier sitting of this run"
            )
        missing, unexpected = self.model.load_state_dict(load_file(earlier / "model.safetensors"), strict=False)
        if set(missing) - {"lm_head.weight"} or unexpected:  # the head is tied to the embeddings, stored once
            raise R3Error(f"{earlier} holds another architecture: {', '.join([*missing, *unexpected][:3])}")
        self.model.tie_weights()
        self.lists_done = self.config.list_steps
        self.step = max(line.get("step", 0) for line in lines)
        self.names_done = self.config.naming_steps if self.step > self.config.lookup_steps else 0
        self.seconds = max(line.get("seconds", 0) for line in lines)
        shutil.copyfile(log, self.out_dir / LOG)
        self.progress(f"pretrain: going on from {earlier} at step {self.step} of {self.config.steps}")

    def learn_lists(self) -> None:
        from r3pp_core.sample.pretrain.batches import WORDS_EVERY
        from r3pp_core.sample.pretrain.lists import list_example
        from r3pp_core.sample.pretrain.packing import pack

        began, right, losses = time.monotonic(), dict[str, float](), dict[str, float]()
        batches = self._batches()
        for step in range(self.lists_done, self.config.list_steps):
            as_words = step % WORDS_EVERY == WORDS_EVERY - 1
            if as_words:
                batch = batches.batch_of("words", f"list/{step}")
            else:
                rng = random.Random(f"{self.config.seed}/list/{step}")
                lists = [list_example(rng) for _ in range(self.config.pages)]
                batch = pack(lists, self.tokenizer, self.image_processor)
            loss, answers = self._loss(batch, as_words=as_words)
            self._update(loss, self.config.lr * min(1, (step + 1) / _WARM_UP_STEPS))
            shown, value = "words" if as_words else "lists", loss.item()
            _follow(losses, shown, value)
            for kind, answer in zip(batch.kinds, answers, strict=True):
                _follow(right, kind, answer, 0.01)
            self.lists_done = step + 1
            if self.lists_done % _LOG_EVERY == 0:
                self._log({"list": self.lists_done, "loss": _rounded(losses), "right": _rounded(right)})
        self.seconds += time.monotonic() - began
        self._save_state()

    def learn_names(self) -> None:
        """The vision tower's own lesson; after a kill it begins again."""
        from r3pp_core.sample.pretrain.naming import Cells, Namer

        if self.names_done == self.config.naming_steps:
            return
        cells: Any = Cells(self.config, self.out_dir / "pages", self.image_processor)
        namer = Namer(self.model, self.words, self.config)
        loader = _prepared_ahead(cells, range(self.config.naming_steps))
        began, means = time.monotonic(), dict[str, float]()
        for step, batch in enumerate(loader):
            for name, loss in zip(("telling", "giving"), namer.step(batch, step), strict=True):
                _follow(means, name, loss)
            if (step + 1) % _LOG_EVERY == 0:
                self._log({"named": step + 1, **{name: round(mean, 5) for name, mean in means.items()}})
        held_out = Cells(self.config, self.out_dir / "pages", self.image_processor, held_out=True)
        self._log({"named": self.config.naming_steps, "words": namer.evaluate(held_out, _NUM_NAMING_BATCHES)})
        namer.finish()
        self.names_done = self.config.naming_steps
        self.seconds += time.monotonic() - began
        self._save_state()

    def learn_pages(self, last: int) -> None:
        """The steps up to `last`; saves every `save_every`, so that a kill costs no more than those."""
        left = range(self.step, last)
        if not left:
            return
        loader = _prepared_ahead(self._batches(), left)
        began, means = time.monotonic(), defaultdict[str, dict[str, float]](dict)
        for step, (mode, batch) in zip(left, loader, strict=True):
            loss, right = self._loss(batch, as_words=mode == "words")
            naming = self._naming_loss(batch)
            self._update(loss + self.config.naming_weight * naming, self._lr(step))
            found = {"loss": loss.item(), "right": sum(right) / len(right)}
            found |= {"naming": float(naming)} if self.given is not None else {}
            for name, value in found.items():
                _follow(means[mode], name, value)
            self.step = step + 1
            if self.step % _LOG_EVERY == 0:
                self._log({"step": self.step, "lr": self._lr(step), **{m: _rounded(v) for m, v in means.items()}})
            if self.step % self.config.eval_every == 0:
                self._log({"step": self.step, "held_out": self.evaluate()})
            if self.step % self.config.save_every == 0 or self.step == last:
                self.seconds += time.monotonic() - began
                began = time.monotonic()
                self._save_state()

    def finish(self) -> dict[str, Any]:
        """Write the backbone; its weights in bfloat16, rounded once."""
        import torch

        scores = self.evaluate()
        self._log({"step": self.step, "seconds": round(self.seconds), "held_out": scores})
        folder = self.out_dir / "backbone"
        self.model.to(torch.bfloat16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        shutil.copyfile(self.out_dir / LOG, folder / LOG)
        return scores

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Share of answers whose every token is the likeliest one, by mode and kind, on groups never trained on."""
        import torch

        batches = self._batches(held_out=True)
        found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        self.model.eval()
        with torch.inference_mode():
            for step in range(_NUM_HELD_OUT_STEPS):
                mode, batch = batches[step]
                for kind, right in zip(batch.kinds, self._loss(batch)[1], strict=True):
                    found[mode][kind].append(right)
        self.model.train()
        return {m: {k: round(sum(v) / len(v), 3) for k, v in sorted(kinds.items())} for m, kinds in found.items()}

    def _batches(self, *, held_out: bool = False) -> Any:
        from r3pp_core.sample.pretrain.batches import Batches

        return Batches(self.config, self.out_dir / "pages", self.tokenizer, self.image_processor, held_out=held_out)

    def _keep_given(self, _: Any, __: Any, output: Any) -> None:
        self.given = output.pooler_output

    def _naming_loss(self, batch: "Packed") -> "Tensor | float":
        """Of what the vision tower gave when `_loss` was last called, for this batch; 0 where it saw nothing."""
        return 0.0 if self.given is None or batch.cells is None else self.words.distance(self.given, batch.cells)

    def _loss(self, batch: "Packed", *, as_words: bool = False) -> tuple["Tensor", list[bool]]:
        """Mean cross-entropy over answer tokens, and for each question whether all of its tokens are likeliest.

        `as_words`: the language model is given the pictures of words instead of what the vision tower makes of them.
        """
        import torch
        from torch.nn.functional import cross_entropy

        self.given = None
        if as_words:
            is_image = batch.input_ids == self.model.config.image_token_id
            embedded = self.model.get_input_embeddings()(batch.input_ids)
            pictured = self.words.pictured(batch.cells)
            shown = {"inputs_embeds": embedded.masked_scatter(is_image.unsqueeze(-1), pictured)}
        else:
            shown = {
                "input_ids": batch.input_ids,
                "pixel_values": batch.pixel_values,
                "image_grid_thw": batch.image_grid_thw,
            }
        hidden = self.model.model(
            **shown,
            position_ids=batch.position_ids,
            apart=batch.apart,
            mm_token_type_ids=batch.mm_token_type_ids,
            use_cache=False,
        ).last_hidden_state
        at = batch.targets != -100
        logits, targets = self.model.lm_head(hidden[at]), batch.targets[at]
        right = torch.ones(len(batch.kinds), dtype=torch.bool)
        right[batch.asked_of[at][logits.argmax(-1) != targets]] = False
        return cross_entropy(logits, targets), right.tolist()

    def _update(self, loss: "Tensor", lr: float) -> None:
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def _lr(self, step: int) -> float:
        """A short warm-up, another one when pictures come, a plateau, then straight down to 3 %."""
        share = step / self.config.steps
        fall = 1.0 if share < self.config.hold else max(0.03, (1 - share) / (1 - self.config.hold))
        since = step - self.config.lookup_steps if step >= self.config.lookup_steps else step
        return self.config.lr * min(1.0, (since + 1) / _WARM_UP_STEPS) * fall

    def _save_state(self) -> None:
        counts = {name: getattr(self, name) for name in _COUNTS}
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), **counts}
        save_state(self.out_dir / "state.pt", state)

    def _log(self, line: dict[str, Any]) -> None:
        with (self.out_dir / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.progress(f"pretrain: {json.dumps(line)}")


def _prepared_ahead(batches: Any, steps: range) -> Any:
    """The batch of each step, made by a process of its own while the model learns from the one before."""
    from torch.utils.data import DataLoader, Subset

    return DataLoader(Subset(batches, steps), batch_size=None, num_workers=1, prefetch_factor=8)


def ensure_tokenizer(folder: Path, seed: int, progress: Progress = silent) -> Any:
    """The tokenizer that the backbone and CLIP share, trained where `folder` lacks it."""
    from transformers import AutoTokenizer

    from r3pp_core.sample.tokenizer import train_tokenizer

    if not folder.exists():
        progress("pretrain: training the tokenizer")
        part = folder.with_name(f".{folder.name}.part")
        train_tokenizer(tokenizer_texts(seed)).save_pretrained(part)
        part.replace(folder)
    return AutoTokenizer.from_pretrained(folder)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all."""
    import torch

    part = path.with_name(f".{path.name}.part")
    torch.save(state, part)
    part.replace(path)


def num_parameters(backbone: Path) -> int:
    """Of a saved model; tied weights are stored once."""
    from safetensors import safe_open

    with safe_open(backbone / "model.safetensors", framework="np") as weights:
        names = weights.keys()
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)


def tokenizer_texts(seed: int) -> list[str]:
    """What the tokenizer learns from: prompts and answers about pages of other worlds, and the prompt's own words."""
    from r3pp_core.model.prompt import SYSTEM
    from r3pp_core.sample.looks import ORDINALS
    from r3pp_core.sample.plan import COLOURS, ICONS
    from r3pp_core.sample.pretrain.examples import make_example
    from r3pp_core.sample.pretrain.other_worlds import build_group
    from r3pp_core.sample.pretrain.printed import printed_lines

    rng = random.Random(f"{seed}/tokenizer")
    texts = [f"system\n{SYSTEM}", "user\n", "assistant\n"] * 2000
    texts += [" ".join((*COLOURS, *ICONS, *ORDINALS, "Yes No"))] * 2000
    for number in range(_NUM_TOKENIZER_GROUPS):
        group = build_group(seed, number)
        lines = [printed_lines(rng, page) for page in group.pages]
        for page in range(len(group.pages)):
            mode = ("evidence", "text", "text", "look")[page % 4]
            example = make_example(rng, group, lines, page, mode, None)
            for asked in example.asked[:4] if example else ():
                assert example is not None
                texts.append("\n".join([*example.context, example.instruction, asked.text]))
                texts.append(asked.answer)
    return texts


def _follow(means: dict[str, float], name: str, value: float, share: float = 0.05) -> None:
    """Move a running mean by `share` of the way to `value`; the first value is the mean."""
    before = means.get(name, value)
    means[name] = before + share * (value - before)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
