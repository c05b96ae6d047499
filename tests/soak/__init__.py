"""An hour of thousands of mixed clients against the real server, with a model that explains every line they read."""
