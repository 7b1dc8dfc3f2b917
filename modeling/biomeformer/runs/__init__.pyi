from .control import (
    CallbackObserver as CallbackObserver,
    RunControl as RunControl,
    RunObserver as RunObserver,
)
from .process_group import ProcessGroup as ProcessGroup
from .run_folder import RunStatus as RunStatus, run_status as run_status
from .scheduler import RunOutcome as RunOutcome
