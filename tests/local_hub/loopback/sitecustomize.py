"""Read by every interpreter that has this folder on its path: no connection leaves this machine."""

import socket
from typing import Any

_LOOPBACK = ("127.", "::1", "localhost")


def _guard(name: str) -> None:
    real = getattr(socket.socket, name)

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to connect to {address}")
        return real(self, address)

    setattr(socket.socket, name, guarded)


_guard("connect")
_guard("connect_ex")
