"""The same training problem written in both frameworks, and the runner."""
