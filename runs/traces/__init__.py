"""Profiler traces of either framework, reduced to one vocabulary so that two of them can stand side by side."""
