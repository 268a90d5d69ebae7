"""What sits in a training loop: Lightning, Keras, step clock, system sampler."""
