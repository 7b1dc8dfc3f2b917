from .analysis import Analyses as Analyses
from .analysis import Limits as Limits
from .server import serve as serve
