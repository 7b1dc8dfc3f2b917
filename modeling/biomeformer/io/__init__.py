"""Files: atomic writes, compression, FASTA, and tables."""
