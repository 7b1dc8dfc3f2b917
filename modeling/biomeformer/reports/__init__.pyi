from .figure import cohort_figure as cohort_figure, make_cohort_figure as make_cohort_figure
from .cohort import cohort_report as cohort_report
from .ordination import bray_curtis_pcoa as bray_curtis_pcoa
