"""The experiments behind what is commonly claimed about PyTorch and TensorFlow, and what runs them."""
