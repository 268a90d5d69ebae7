"""A DCGAN that learns to draw handwritten digits, once in each framework."""
