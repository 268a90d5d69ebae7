"""A run, written and read: the journal, the writer, series, alignment, comparison, parity."""
