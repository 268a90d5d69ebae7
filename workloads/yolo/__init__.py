"""A one-stage object detector on real digits pasted onto real photographs, once in each framework."""
