"""Fine-tune on the same sequences: with our recipe, or with Trainer and a plain BERT of the same size.

python benchmarks/peers_trainer.py prepare WORK --steps 60
python benchmarks/peers_trainer.py ours WORK
python benchmarks/peers_trainer.py bert WORK

Both train one epoch of random weights in float32 and validate once; the recipe also predicts the test split and writes
scores and a report.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SIZES = {
    "vocab_size": 512,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
BATCH, LENGTHS, LEARNING_RATE = 16, (200, 300), 1e-4
# Shares of a sequence's bases that are A and T, by class.
AT_SHARE = {"a": 0.45, "b": 0.55}
LABELS = list(AT_SHARE)


def prepare(folder: Path, steps: int) -> None:
    """Write the sequences, as `biomeformer sequences prepare` does, and an encoder with random weights."""
    import numpy as np
    from speed_shapes import bpe_tokenizer

    from biomeformer import prepare_sequences
    from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    # A tenth each is for validation and test.
    per_class = round(BATCH * steps / 0.8 / 2)
    for name, share in AT_SHARE.items():
        odds = [share / 2, (1 - share) / 2, (1 - share) / 2, share / 2]
        lengths = rng.integers(*LENGTHS, per_class, endpoint=True)
        sequences = ("".join(rng.choice(list("ACGT"), length, p=odds)) for length in lengths)
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{text}\n" for i, text in enumerate(sequences)))
    prepare_sequences([f"{name}={folder / name}.fa" for name in LABELS], folder / "data", read_encoder=None)
    DnaBert2Model(DnaBert2Config(**SIZES, pad_token_id=3, add_pooling_layer=True)).save_pretrained(folder / "encoder")
    bpe_tokenizer(SIZES["vocab_size"]).save_pretrained(folder / "encoder")
    config = {
        "base": str(folder / "encoder"),
        "from_scratch": True,
        "n_epochs": 1,
        "patience": 1,
        "batch_sequences": BATCH,
        "learning_rate": LEARNING_RATE,
        "augment_strands": False,
        "average_strands": False,
        "mixed_precision": "no",
    }
    # YAML reads JSON.
    (folder / "config.yaml").write_text(json.dumps(config, indent=1))


def ours(folder: Path, run: Path) -> int:
    """Run the recipe."""
    from biomeformer.recipes.finetune_sequence_classifier import main

    return main(["--data", str(folder / "data"), "--output", str(run), "--config", str(folder / "config.yaml")])


def bert(folder: Path, run: Path) -> None:
    """Train a plain BERT with Trainer."""
    import torch
    from datasets import load_dataset
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
    files = {split: str(folder / "data" / "data" / f"{split}-*.parquet") for split in ("train", "validation")}
    data = load_dataset("parquet", data_files=files, cache_dir=str(run / "cache"))

    def encode(rows: dict[str, Any]) -> dict[str, Any]:
        return {**tokenizer(rows["sequence"]), "labels": rows["label"]}

    columns = data["train"].column_names
    data = data.map(encode, batched=True, remove_columns=columns)
    torch.manual_seed(0)
    settings = TrainingArguments(
        str(run),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = BertForSequenceClassification(BertConfig(**SIZES, pad_token_id=3, num_labels=len(LABELS)))
    collate = DataCollatorWithPadding(tokenizer)
    trainer = Trainer(
        model, settings, train_dataset=data["train"], eval_dataset=data["validation"], data_collator=collate
    )
    trainer.train()
    trainer.save_model(str(run / "model"))


def main() -> int:
    """Prepare or train; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "ours", "bert"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--run", type=Path, default=Path("run"), help="folder that training writes")
    args = parser.parse_args()
    if args.what == "ours":
        return ours(args.work, args.run)
    if args.what == "bert":
        bert(args.work, args.run)
    else:
        prepare(args.work, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
