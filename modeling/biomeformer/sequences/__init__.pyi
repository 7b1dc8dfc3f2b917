from .prepare import PreparedSequences as PreparedSequences, prepare_sequences as prepare_sequences
from .settings import PreparationSettings as PreparationSettings
from .token_lengths import TokenLengths as TokenLengths
