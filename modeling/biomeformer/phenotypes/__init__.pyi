from .checkpoint import (
    predict_table as predict_table,
    train_checkpoint as train_checkpoint,
    with_deep_sets_head as with_deep_sets_head,
    with_linear_head as with_linear_head,
)
from .cohort_transfer import (
    LabelledCohort as LabelledCohort,
    Transfer as Transfer,
    leave_one_out as leave_one_out,
    transfer as transfer,
)
from .depth import FRACTIONS as FRACTIONS, depth_name as depth_name, depth_tables as depth_tables
from .evaluation import (
    Comparison as Comparison,
    Evaluation as Evaluation,
    Interval as Interval,
    compare as compare,
    cross_validate as cross_validate,
)
from .features import FeatureTable as FeatureTable, read_feature_table as read_feature_table
from .fitting import train_predictor as train_predictor
from .models import MODELS as MODELS, make_model as make_model
from .predictor import PhenotypePredictor as PhenotypePredictor, Predictions as Predictions
from .statistics import (
    DISTANCES as DISTANCES,
    GroupTest as GroupTest,
    compare_groups as compare_groups,
    distance_matrix as distance_matrix,
)
from .study import Study as Study, run_study as run_study
from .target import Target as Target, make_target as make_target, read_metadata as read_metadata
from .transforms import TRANSFORMS as TRANSFORMS, design_matrix as design_matrix, transform_shares as transform_shares
