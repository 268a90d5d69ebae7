"""A few training steps under the framework's own profiler: when to record, what to mark, and whom to give way to."""
