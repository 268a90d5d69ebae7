"""A small fully connected network on 569 real tumour measurements, once in each framework."""
