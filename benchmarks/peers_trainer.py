"""Fine-tune a sequence classifier with transformers' Trainer: ours, or a plain BERT of the same size, on random data.

python benchmarks/peers_trainer.py dnabert2 --steps 60
python benchmarks/peers_trainer.py bert --steps 60
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "num_labels": 2,
}
BATCH, SHORTEST, LONGEST = 16, 20, 60


def sequences(n: int) -> list[dict[str, list[int] | int]]:
    """Return labelled sequences of random tokens and lengths, as those of 100 to 300 bases are."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n,), generator=generator).tolist()
    ids = [torch.randint(5, SIZES["vocab_size"], (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": tokens, "labels": sum(tokens) % 2} for tokens in ids]


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Pad a batch."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [3] * (width - len(row["input_ids"])) for row in rows])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["dnabert2", "bert"])
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.model == "bert":
        model = BertForSequenceClassification(BertConfig(**SIZES, pad_token_id=3))
    else:
        from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2ForSequenceClassification

        model = DnaBert2ForSequenceClassification(DnaBert2Config(**SIZES, pad_token_id=3))
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            max_steps=args.steps,
            per_device_train_batch_size=BATCH,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            remove_unused_columns=False,
            disable_tqdm=True,
        )
        Trainer(model, settings, train_dataset=sequences(BATCH * args.steps), data_collator=collate).train()


if __name__ == "__main__":
    main()
