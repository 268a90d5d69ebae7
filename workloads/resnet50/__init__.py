"""ResNet-50 on enlarged images of handwritten digits, once in each framework."""
