"""What the server of `processes` has loaded, by being imported there, when it forks a process."""

import slow_imports

slow_imports.preload([*slow_imports.LIBRARIES, *slow_imports.CLIENTS])
slow_imports.freeze()
