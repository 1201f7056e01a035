"""The R3 model: backbone, adapters and modules; losses of a batch, and answers by greedy decoding.

B rows, T padded length, K soft tokens, n answer tokens of the batch, V vocabulary.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - defines a torch module; imported inside functions only
from torch import Tensor, nn  # noqa: TID253 - see above

from r3pp_core.errors import R3Error
from r3pp_core.model import losses
from r3pp_core.model.backbone import PLACEHOLDER, Backbone
from r3pp_core.model.collation import IGNORED, Batch, evidence_batch, gives_words, to_device, words_by_trust
from r3pp_core.model.config import Arm, LossWeights, R3Config
from r3pp_core.model.injection import injected
from r3pp_core.model.patch_product import multiply_patches
from r3pp_core.model.reconstruction import Reconstructed, Reconstruction, StepMeans

if TYPE_CHECKING:
    from r3pp_core.model.preparation import PreparedRow

NEVER_GENERATED = (PLACEHOLDER, "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


@dataclass(frozen=True)
class Generated:
    """An answer; `gate` {text, image, vision} and `confidence` {c_vis, c_text}, None where that module is off.

    `is_cut`: it was not at its end after max_new_tokens.
    """

    text: str
    gate: dict[str, float] | None
    confidence: dict[str, float] | None
    is_cut: bool = False


@dataclass(frozen=True)
class Losses:
    """Terms of one micro-batch. `ce_sum` and `kl_sum` are sums over its answer tokens; conf, entropy and router are
    means over its rows; `align` is over the rows of the whole step, and zero but in the micro-batch that got them.
    """

    ce_sum: Tensor
    kl_sum: Tensor
    num_answer_tokens: int
    conf: Tensor
    entropy: Tensor
    router: Tensor
    align: Tensor
    num_align_pairs: int
    gate: Tensor | None
    confidence: Tensor | None

    def total(
        self, weights: LossWeights, share_of_tokens: float, share_of_rows: float, share_of_align: float
    ) -> Tensor:
        """This micro-batch's part of the step's loss. `share_of_tokens`: one over the step's answer tokens."""
        of_tokens = self.ce_sum + weights.kl * self.kl_sum
        of_rows = weights.conf * self.conf + weights.entropy * self.entropy + weights.router * self.router
        of_step = weights.align * self.align
        return share_of_tokens * of_tokens + share_of_rows * of_rows + share_of_align * of_step


class R3Model(nn.Module):
    """Injects what `Reconstruction` makes of the evidence into a Qwen3-VL, which is adapted as the config says."""

    def __init__(self, backbone: Backbone, config: R3Config) -> None:
        """Takes the backbone over: its parameters are frozen, wrapped (lora) or made trainable (full)."""
        super().__init__()
        self.config = config
        self.backbone = backbone.model
        self.tokenizer = backbone.tokenizer
        self.image_processor = backbone.image_processor
        self.backbone_name, self.backbone_hash = backbone.name, backbone.hash
        self.placeholder_id = int(backbone.tokenizer.convert_tokens_to_ids(PLACEHOLDER))
        self.autocast_dtype: torch.dtype | None = None
        self._peft: list[Any] = []  # in a list, so that torch does not register the wrapped backbone twice
        self._adapt(config, backbone.device)
        self.reconstruction = Reconstruction(config, backbone.hidden_size, backbone.token_norm).to(backbone.device)

    def _adapt(self, config: R3Config, device: str) -> None:
        self.backbone.requires_grad_(config.adapter == "full")
        if config.adapter != "lora":
            return
        from peft import LoraConfig, get_peft_model
        from peft.tuners.lora import LoraLayer

        names = "|".join(config.lora_targets)
        lora = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=rf".*language_model\..*\.({names})",
        )
        lora.base_model_name_or_path = self.backbone_name
        # Made on no device and drawn here, in one order, so that a backbone that is itself on none starts the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name that is to go
            self._peft.append(get_peft_model(self.backbone, lora, low_cpu_mem_usage=True))
        for layer in self.backbone.modules():
            if isinstance(layer, LoraLayer):
                layer.lora_A.to_empty(device=device)
                layer.lora_B.to_empty(device=device)
                layer.reset_lora_parameters("default", init_lora_weights=True)

    @property
    def peft_model(self) -> Any | None:
        """PEFT's own wrapper around the same backbone, for its state dict and layout; None without LoRA."""
        return self._peft[0] if self._peft else None

    @property
    def embedding(self) -> nn.Module:
        embedding: nn.Module = self.backbone.get_input_embeddings()
        return embedding

    @property
    def device(self) -> str:
        return str(self.embedding.weight.device)

    @property
    def merge_size(self) -> int:
        return int(self.backbone.config.vision_config.spatial_merge_size)

    def forward(
        self,
        batch: Batch,
        step: StepMeans | None = None,
        teacher_logits: Tensor | None = None,
        *,
        only_logits: bool = False,
    ) -> Losses | Tensor:
        """Loss terms of a batch with answers, or its `answer_logits`: sharded weights are there in a forward only.

        `step`: the rows to align; without it nothing is aligned. `teacher_logits`: [n, V], what the teacher says.
        Raises R3Error when the batch holds no answer token.
        """
        if only_logits:
            return self.answer_logits(batch)[0]
        if not batch.num_answer_tokens:
            raise R3Error(
                f"no answer token in the rows {', '.join(batch.row_ids[:3])}; collate them with their answers"
            )
        made = self.reconstruction(batch.evidence, step, batch.off)
        logits, targets = self.answer_logits(batch, made)
        ce_sum = losses.cross_entropy_sum(logits, targets)
        zero = ce_sum.new_zeros(())
        conf, entropy, router, align, num_pairs = zero, zero, zero, zero, 0
        c_vis, c_text = batch.evidence.c_vis, batch.evidence.c_text
        if made.gate is not None:
            conf = conf + losses.gate_loss(made.gate, losses.gate_target(c_vis, c_text, made.available))
            entropy = losses.negative_entropy(made.gate)
        if made.confidence_log_odds is not None:
            conf = conf + losses.confidence_loss(made.confidence_log_odds, c_vis, c_text)
        if made.router_log_odds is not None:
            router = losses.router_loss(made.router_log_odds, c_vis, c_text)
        if step is not None and made.step_aligned is not None:
            text, image = made.step_aligned
            align, num_pairs = losses.align_loss(text, image, step.both)
        return Losses(
            ce_sum=ce_sum,
            kl_sum=zero if teacher_logits is None else losses.kl_sum(logits, teacher_logits),
            num_answer_tokens=batch.num_answer_tokens,
            conf=conf,
            entropy=entropy,
            router=router,
            align=align,
            num_align_pairs=num_pairs,
            gate=made.gate,
            confidence=made.confidence,
        )

    def answer_logits(self, batch: Batch, made: Reconstructed | None = None) -> tuple[Tensor, Tensor]:
        """Logits [n, V] and targets [n] at the positions that predict an answer token, and only there."""
        if made is None and batch.has_placeholders:
            made = self.reconstruction(batch.evidence, off=batch.off)
        at_answer = torch.zeros_like(batch.labels, dtype=torch.bool)
        at_answer[:, :-1] = batch.labels[:, 1:] != IGNORED
        with self._injected(batch, made), self._autocast():
            output = self.backbone(**self._inputs(batch, made), logits_to_keep=at_answer, use_cache=False)
        return output.logits, batch.labels[:, 1:][at_answer[:, :-1]]

    def prepare_to_ask(self) -> "R3Model":
        """For answers alone from now on, and quicker at them: patches are multiplied, and in float32 the
        adapter goes into the weights that it adapts, which then are its sum with them but for rounding.
        """
        multiply_patches(self.backbone.model.visual.patch_embed)
        if self.peft_model is not None and self.embedding.weight.dtype == torch.float32:
            self.peft_model.merge_adapter()
        return self.eval()

    @torch.inference_mode()
    def words_by_trust(self, rows: Sequence["PreparedRow"], arm: Arm) -> "list[PreparedRow]":
        """The rows as `arm` asks them: those whose own text the model trusts do without evidence as words."""
        stated = None
        hangs_on_trust = self.config.words_below is not None and gives_words(self.config, arm)
        if hangs_on_trust and "confidence" not in arm.off:
            evidence = to_device(evidence_batch(rows, self.config, arm), self.device)
            stated = self.reconstruction.stated_confidence(evidence)
        return words_by_trust(rows, self.config, None if stated is None else stated[:, 1].tolist())

    @torch.inference_mode()
    def see(self, batch: Batch) -> Any:
        """What the vision tower makes of the pictures of a batch, for `generate`."""
        with self._autocast():
            return self.backbone.get_image_features(batch.pixel_values, batch.image_grid_thw, return_dict=True)

    @torch.inference_mode()
    def generate(self, batch: Batch, max_new_tokens: int = 32, seen: Any = None) -> list[Generated]:
        """Greedy answers to a left-padded batch without answers, in its order; evaluation mode, then back.

        `seen`: what `see` made of the same pictures, so that they need not be encoded again.
        """
        from transformers import GenerationConfig

        if batch.num_answer_tokens:
            raise R3Error("a batch for generation must not hold the answers; collate it without them")
        if not bool(batch.attention_mask[:, -1].all()):
            raise R3Error("a batch for generation needs left padding")
        special = self.tokenizer.convert_tokens_to_ids
        ends = [special("<|im_end|>"), special("<|endoftext|>")]
        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=ends,
            pad_token_id=self.tokenizer.pad_token_id,
            suppress_tokens=[special(token) for token in NEVER_GENERATED],
        )
        was_training = self.training
        self.eval()
        try:
            made = self.reconstruction(batch.evidence, off=batch.off)
            inputs = self._inputs(batch, made)
            if seen is not None:
                del inputs["pixel_values"]
                inputs["mm_encoder_outputs"] = {"image": seen}
            with self._injected(batch, made), self._autocast():
                ids = self.backbone.generate(**inputs, generation_config=config)
        finally:
            self.train(was_training)
        answers = ids[:, batch.input_ids.shape[1] :]
        has_end = torch.isin(answers, torch.tensor(ends, device=answers.device)).any(dim=1).tolist()
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        gates = ("text", "image", "vision")
        return [
            Generated(text.strip(), _named(made.gate, row, gates), _confidence(made, row), not has_end[row])
            for row, text in enumerate(texts)
        ]

    def _inputs(self, batch: Batch, made: Reconstructed | None) -> dict[str, Any]:
        attention_mask = batch.attention_mask
        if batch.has_placeholders and made is not None and made.token_mask is not None:
            # A group that is off or without a hit: nothing attends to its tokens and no position counts them.
            at = batch.input_ids == self.placeholder_id
            attention_mask = attention_mask.masked_scatter(at, made.token_mask.to(attention_mask.dtype))
        return {
            "input_ids": batch.input_ids,
            "attention_mask": attention_mask,
            "mm_token_type_ids": batch.mm_token_type_ids,
            "pixel_values": batch.pixel_values,
            "image_grid_thw": batch.image_grid_thw,
        }

    def _injected(self, batch: Batch, made: Reconstructed | None) -> AbstractContextManager[None]:
        soft_tokens = made.tokens if made is not None and batch.has_placeholders else None
        return injected(self.embedding, self.placeholder_id, soft_tokens)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.embedding.weight.device.type, self.autocast_dtype)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name, in a fixed order."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def save_pretrained(self, folder: Path, hashes: dict[str, str] | None = None) -> None:
        """See r3pp_core.model.storage.save_model."""
        from r3pp_core.model.storage import save_model

        save_model(self, folder, hashes or {})

    @classmethod
    def from_pretrained(
        cls, folder: Path, backbone_dir: Path | None = None, dtype: str = "float32", device: str = "cpu"
    ) -> "R3Model":
        """See r3pp_core.model.storage.load_model."""
        from r3pp_core.model.storage import load_model

        return load_model(folder, backbone_dir, dtype, device)


def without_soft_tokens(made: Reconstructed) -> Reconstructed:
    """The same evidence with every soft token masked: what the model is when nothing is injected."""
    if made.token_mask is None:
        return made
    return replace(made, token_mask=torch.zeros_like(made.token_mask))


def _named(values: Tensor | None, row: int, names: tuple[str, ...]) -> dict[str, float] | None:
    if values is None:
        return None
    return dict(zip(names, values[row].float().tolist(), strict=True))


def _confidence(made: Reconstructed, row: int) -> dict[str, float] | None:
    return _named(made.confidence, row, ("c_vis", "c_text"))
