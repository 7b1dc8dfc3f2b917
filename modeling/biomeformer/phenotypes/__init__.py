"""Does the metagenome's vector predict a phenotype, and how sure is that?"""

from ..metrics.evaluate_metrics import BalancedAccuracy, BrierScore, CalibrationError, PrAuc, RocAuc
from .checkpoint import predict_table, train_checkpoint, with_deep_sets_head, with_linear_head
from .cohort_transfer import Transfer, leave_one_out, transfer
from .depth import FRACTIONS, depth_name, depth_tables
from .evaluation import Comparison, Evaluation, Interval, compare, cross_validate
from .features import FeatureTable, read_feature_table
from .models import MODELS, make_model
from .statistics import DISTANCES, GroupTest, compare_groups, distance_matrix
from .study import Study, run_study
from .target import Target, make_target, read_metadata
from .transforms import TRANSFORMS, design_matrix, transform_shares

__all__ = [
    "DISTANCES",
    "FRACTIONS",
    "MODELS",
    "TRANSFORMS",
    "BalancedAccuracy",
    "BrierScore",
    "CalibrationError",
    "Comparison",
    "Evaluation",
    "FeatureTable",
    "GroupTest",
    "Interval",
    "PrAuc",
    "RocAuc",
    "Study",
    "Target",
    "Transfer",
    "compare",
    "compare_groups",
    "cross_validate",
    "depth_name",
    "depth_tables",
    "design_matrix",
    "distance_matrix",
    "leave_one_out",
    "make_model",
    "make_target",
    "predict_table",
    "read_feature_table",
    "read_metadata",
    "run_study",
    "train_checkpoint",
    "transfer",
    "transform_shares",
    "with_deep_sets_head",
    "with_linear_head",
]
