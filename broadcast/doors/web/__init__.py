"""The web door: an HTTP server with the page, the WebSocket of the page, and files."""
