from .calling import call_genes as call_genes
from .catalog import GenomeCatalog as GenomeCatalog, read_catalog as read_catalog
from .dataset import DatasetGenomes as DatasetGenomes, StreamedGenomes as StreamedGenomes, open_genomes as open_genomes
from .embedding import EmbeddedGenomes as EmbeddedGenomes, embed_genomes as embed_genomes
from .genome import Gene as Gene, Genome as Genome
from .prediction import GenomePrediction as GenomePrediction, predict_genome as predict_genome
from .proteins import ProteinEncoder as ProteinEncoder, load_protein_encoder as load_protein_encoder
from .reading import genome_name as genome_name, read_genome as read_genome
from .reference import iter_references as iter_references, ranks_of as ranks_of
