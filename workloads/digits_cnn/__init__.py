"""A small convolutional network on 1,797 real images of handwritten digits, once in each framework."""
