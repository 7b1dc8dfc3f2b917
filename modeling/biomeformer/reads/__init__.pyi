from .batch import ReadBatch as ReadBatch
from .cohort import Cohort as Cohort, CohortSample as CohortSample, read_cohort as read_cohort
from .draw import draw_reads as draw_reads
from .genomes import GenomeSet as GenomeSet
from .reference import ReferenceGenome as ReferenceGenome, simulate_reads as simulate_reads
from .sample import SampleReader as SampleReader, SampleReads as SampleReads
from .subsampling import keep_reads as keep_reads, read_hash as read_hash
