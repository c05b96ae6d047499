"""The plugin that adds ``twistd broadcast``."""

from twisted.application.service import ServiceMaker

broadcast = ServiceMaker(
    "broadcast", "broadcast.service", "A chat room for netcat, telnet and everything that speaks lines.", "broadcast"
)
