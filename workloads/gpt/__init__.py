"""A small decoder-only transformer that writes text character by character, once in each framework."""
