"""Who listens on a port."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """A process that listens. pid None: it is another user's, so the system does not say."""

    pid: int | None
    command: str

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another user (`sudo ss -ltnp` names it)"
        return f"process {self.pid} (`{self.command}`)"


def taken(host: str, port: int) -> bool:
    """Nobody else can listen there now."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the servers themselves do: a port whose last connections are still timing out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def holder(port: int) -> Holder:
    """Process that listens on `port`, by its id and command."""
    import psutil

    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # macOS lets only root ask for all.
        listening = []
    pids = {one.pid for one in listening if one.pid is not None and one.laddr and one.laddr[1] == port}
    if not pids:
        return Holder(None, "")
    pid = min(pids)  # A server's workers listen with it; it was there first.
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        command = "already gone"
    return Holder(pid, command if len(command) <= 160 else command[:157] + "...")
