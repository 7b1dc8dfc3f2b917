"""File formats and file access: atomic writes, decompression, FASTA, nucleotides and tables."""
