"""The character language model of `lstm` with a GRU layer instead, once in each framework."""
