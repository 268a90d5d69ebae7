"""What went wrong in a training: records that both frameworks fill, and how to read them."""
