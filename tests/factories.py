"""Small models, tokenizers, reads and cohorts that tests make for themselves."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, EsmModel, PreTrainedModel, PreTrainedTokenizerFast

from biomeformer import GenomeTransformerConfig, GenomeTransformerForSequenceClassification
from biomeformer.genomes.proteins import esm_config, esm_tokenizer
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.metagenbert import MetagenBertModel, MetagenBertProcessor

SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]


def random_sequences(n: int, low: int = 100, high: int = 150, seed: int = 0) -> list[str]:
    """Random DNA of `low` to `high` bases."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), rng.integers(low, high + 1))) for _ in range(n)]


def bpe_tokenizer(vocab_size: int = 120) -> PreTrainedTokenizerFast:
    """A BPE tokenizer laid out as DNABERT-2's, learnt on random DNA."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        random_sequences(200, seed=7),
        trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIALS, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def tiny_dnabert2(seed: int = 0) -> DnaBert2Model:
    """A DNABERT-2 with random weights."""
    torch.manual_seed(seed)
    config = DnaBert2Config(
        vocab_size=120, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40
    )
    return DnaBert2Model(config).eval()


def tiny_bert(seed: int = 0) -> BertModel:
    """A stock BERT with random weights, as any other encoder."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=120, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, pad_token_id=3
    )
    return BertModel(config).eval()


def tiny_metagenbert(
    encoder: PreTrainedModel | None = None, n_clusters: int = 7, seed: int = 3, **preprocessing
) -> MetagenBertModel:
    """An encoder and centroids that are vectors of random reads."""
    encoder = encoder or tiny_dnabert2()
    processor = MetagenBertProcessor(bpe_tokenizer(), **preprocessing)
    hidden = encoder.config.hidden_size
    probe = MetagenBertModel.from_encoder_and_centroids(encoder, np.zeros((1, hidden)), processor=processor)
    with torch.no_grad():
        batch = processor(random_sequences(n_clusters, seed=seed))
        centroids = probe(**batch).read_embeddings.numpy()
    return MetagenBertModel.from_encoder_and_centroids(encoder, centroids, processor=processor)


def write_fastq(path: Path, sequences: list[str], name: str = "read", mate: int | None = None) -> Path:
    """FASTQ, gzipped where the name ends in .gz."""
    suffix = "" if mate is None else f"/{mate}"
    text = "".join(f"@{name}{i}{suffix}\n{s}\n+\n{'I' * len(s)}\n" for i, s in enumerate(sequences))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return path


def write_cohort(folder: Path, n_samples: int = 3, n_reads: int = 60) -> Path:
    """A cohort of single-end samples of random reads, with a phenotype column."""
    rows = ["sample_id,fastq,group"]
    for i in range(n_samples):
        write_fastq(folder / f"s{i}.fastq.gz", random_sequences(n_reads, seed=10 + i))
        rows.append(f"s{i},s{i}.fastq.gz,{'ab'[i % 2]}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder / "cohort.csv"


def write_random_fastq(path: Path, n_reads: int, length: int = 100, seed: int = 0) -> Path:
    """Many reads of one length, quickly."""
    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(seed).integers(0, 4, (n_reads, length))]
    quality = b"I" * length
    text = b"".join(b"@r%d\n%s\n+\n%s\n" % (i, row.tobytes(), quality) for i, row in enumerate(letters))
    path.write_bytes(gzip.compress(text, 1, mtime=0) if path.suffix == ".gz" else text)
    return path


def write_large_cohort(folder: Path, sizes: list[int]) -> Path:
    """A cohort of samples of so many reads."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["sample_id,fastq,group"]
    for i, n_reads in enumerate(sizes):
        write_random_fastq(folder / f"s{i}.fastq", n_reads, seed=i)
        rows.append(f"s{i},s{i}.fastq,{'ab'[i % 2]}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    return folder / "cohort.csv"


CODONS = "GCT GGT CTG AAA GAA GAC ATC GTT CGT CCG TCT ACC AAC CAG TTC TAC CAC ATG".split()


def random_gene(rng: np.random.Generator, n_codons: int = 200) -> str:
    """A coding sequence."""
    return "ATG" + "".join(rng.choice(CODONS, n_codons)) + "TAA"


def random_contig(rng: np.random.Generator, n_genes: int = 40) -> str:
    """Genes on both strands with ribosome binding sites before them."""
    parts = []
    for _ in range(n_genes):
        gene = "TTAGGAGGATTAACA" + random_gene(rng, int(rng.integers(80, 260)))
        parts.append(gene if rng.random() < 0.6 else reverse_complement(gene))
        parts.append("".join(rng.choice(list("ACGT"), int(rng.integers(20, 90)))))
    return "".join(parts)


def reverse_complement(bases: str) -> str:
    """The other strand."""
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def tiny_esm(folder: Path) -> Path:
    """A protein encoder with random weights, as a folder."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    EsmModel(esm_config(**sizes), add_pooling_layer=False).save_pretrained(folder)
    esm_tokenizer(folder).save_pretrained(folder)
    return folder


def write_protein_genomes(folder: Path, n_genomes: int = 8, n_proteins: int = 40) -> Path:
    """A catalog of genomes given as proteins, half of which they share; those of soil have more alanine."""
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    rng = np.random.default_rng(0)

    def protein(composition: np.ndarray) -> str:
        return "".join(rng.choice(letters, int(rng.integers(20, 90)), p=composition))

    even = np.full(20, 1 / 20)
    alanine = np.r_[0.3, np.full(19, 0.7 / 19)]
    pool = [protein(even) for _ in range(60)]
    rows = ["genome_id,proteins,habitat,genus"]
    for i in range(n_genomes):
        own = [protein(even if i % 2 else alanine) for _ in range(n_proteins // 2)]
        proteins = [*own, *(pool[j] for j in rng.choice(60, n_proteins // 2, replace=False))]
        lines = [f">c{k // 15}_{k} # {90 * k + 1} # {90 * k + 60} # 1 # ID=1\n{p}" for k, p in enumerate(proteins)]
        (folder / f"g{i}.faa").write_text("\n".join(lines) + "\n")
        rows.append(f"g{i},g{i}.faa,{['soil', 'host'][i % 2]},G{i // 4}{'sh'[i % 2]}")
    (folder / "genomes.csv").write_text("\n".join(rows) + "\n")
    return folder / "genomes.csv"


HABITATS = {"id2label": {0: "host", 1: "soil"}, "label2id": {"host": 0, "soil": 1}, "label_name": "habitat"}


def random_genome_transformer(**sizes) -> GenomeTransformerForSequenceClassification:
    """Weights so large that attention is uneven."""
    torch.manual_seed(0)
    sizes = {"protein_size": 24, "hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 24} | sizes
    config = GenomeTransformerConfig(**{"max_genes": 60, "initializer_range": 0.3} | sizes, **HABITATS)
    return GenomeTransformerForSequenceClassification(config).eval()
