"""Neural collaborative filtering on what users picked, once in each framework."""
