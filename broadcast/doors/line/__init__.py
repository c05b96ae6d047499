"""The line door: telnet, netcat and every program that reads and writes lines."""
