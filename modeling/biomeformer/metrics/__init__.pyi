from .resampling import BootstrapInterval as BootstrapInterval, bootstrap as bootstrap, resample as resample
from .curves import (
    CalibrationCurve as CalibrationCurve,
    Curve as Curve,
    ThresholdCurve as ThresholdCurve,
    calibration_curve as calibration_curve,
    curve_with_band as curve_with_band,
    threshold_curve as threshold_curve,
)
from .evaluate_metrics import (
    EVALUATE_MODULE as EVALUATE_MODULE,
    R2 as R2,
    BalancedAccuracy as BalancedAccuracy,
    BrierScore as BrierScore,
    CalibrationError as CalibrationError,
    MeanAbsoluteError as MeanAbsoluteError,
    MultiLabelBrierScore as MultiLabelBrierScore,
    MultiLabelF1 as MultiLabelF1,
    MultiLabelMicroF1 as MultiLabelMicroF1,
    MultiLabelPrAuc as MultiLabelPrAuc,
    MultiLabelRocAuc as MultiLabelRocAuc,
    PearsonCorrelation as PearsonCorrelation,
    PrAuc as PrAuc,
    RocAuc as RocAuc,
    RootMeanSquaredError as RootMeanSquaredError,
    SpearmanCorrelation as SpearmanCorrelation,
    SubsetAccuracy as SubsetAccuracy,
)
from .probabilities import LOWER_IS_BETTER as LOWER_IS_BETTER, METRICS as METRICS, score as score
from .tasks import (
    TASKS as TASKS,
    Task as Task,
    choose_thresholds as choose_thresholds,
    per_class as per_class,
    score_predictions as score_predictions,
)
