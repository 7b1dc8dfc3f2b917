from .collection import ClusterSettings as ClusterSettings
from .explanation import (
    AttributionSettings as AttributionSettings,
    Explanation as Explanation,
    explain_genome as explain_genome,
)
from .network import GeneInteractionNetwork as GeneInteractionNetwork
from .run import attribute as attribute
