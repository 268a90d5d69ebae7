"""A character language model with one LSTM layer, once in each framework."""
