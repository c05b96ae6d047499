"""A peer: uWebSockets, through the package ``socketify``, which sends each message to all subscribers of one topic."""

from __future__ import annotations

import os
import sys
from threading import Timer
from typing import Any

from socketify import App, AppListenOptions, CompressOptions, OpCode


def main(port: int, seconds: float) -> None:
    """Serve on *port* of 127.0.0.1 for *seconds*."""
    app = App()

    def publish(_websocket: Any, message: str | bytes, _opcode: OpCode) -> None:  # noqa: ANN401 - not exported
        app.publish("room", message, OpCode.TEXT)

    app.ws(
        "/*",
        {
            "compression": CompressOptions.DISABLED,
            "max_backpressure": 1 << 30,
            "idle_timeout": 0,
            "open": lambda websocket: websocket.subscribe("room"),
            "message": publish,
        },
    )
    app.listen(AppListenOptions(port=port, host="127.0.0.1"))
    timer = Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
    app.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
