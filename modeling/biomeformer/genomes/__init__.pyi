from .calling import call_genes as call_genes
from .embedding import EmbeddedGenomes as EmbeddedGenomes, embed_genomes as embed_genomes
from .genome import Gene as Gene, Genome as Genome
from .reading import genome_name as genome_name, read_genome as read_genome
