"""Serve the explorer on a port of this machine, until Ctrl-C."""

import errno
import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from itertools import combinations

import torch
import uvicorn

from ssvae.inference.explorer.explorer import check_comparable
from ssvae.inference.explorer.server import create_app
from ssvae.inference.explorer.vectors import explorer_of
from ssvae.inference.runs.run import Run


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. It reserves the port while the runs are loaded.

    Args:
        host: An address or name of this machine; "127.0.0.1" for this machine only, "0.0.0.0" for every network.
        port: The port; 0 for any free one.

    Returns:
        The socket. Clients that connect early wait until the page is served.

    Raises:
        ValueError: If the host is not an address of this machine, or the port is taken or not allowed.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535; got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ValueError(f"--host: expected an address of this machine; got {host!r}.") from error
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # Allows a port that was in use a moment ago. On Windows it would take the port from another server.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"--port: expected a free port; got {port}, which is in use, perhaps by another ssvae explore "
                "(--port 0 chooses any free one)."
            ) from error
        if error.errno == errno.EACCES:
            raise ValueError(f"--port: expected a port that this user may open, such as 8642; got {port}.") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(f"--host: expected an address of this machine; got {host!r}.") from error
        raise
    return listening


def serve(runs: Sequence[Run], listening: socket.socket, *, num_samples: int = 50, open_page: bool = False) -> None:
    """Serve the page until Ctrl-C.

    Args:
        runs: One run, or two to compare.
        listening: The socket from `listen`.
        num_samples: The number of importance samples for each class.
        open_page: Whether to open the page in the user's browser, if there is a display.

    Raises:
        ValueError: If the runs cannot be compared, or num_samples is less than 2.
    """
    for pair in combinations(runs, 2):
        check_comparable(*pair)
    # One core is left to the browser.
    torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - 1)))
    explorers = [explorer_of(run, num_samples=num_samples) for run in runs]
    for explorer in explorers:
        explorer.warm_up()
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    url = f"http://{page_host(address)}:{port}"
    if not address.is_loopback:
        print("Everyone on the network who can reach this machine can open the page.", flush=True)
    print(f"{' and '.join(explorer.name for explorer in explorers)}: {url} (stop with Ctrl-C)", flush=True)
    if open_page and _has_screen():
        # In a thread, since starting a browser can take long.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    config = uvicorn.Config(
        create_app(explorers, loopback=address.is_loopback),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        print()  # after the terminal's ^C


def page_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the host part of a URL for an address; "localhost" if it means every address of this machine."""
    if address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)


def _has_screen() -> bool:
    """Return whether there is a display. Without one, a text browser would open in the terminal."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
