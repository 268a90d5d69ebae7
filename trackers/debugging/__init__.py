"""What watches a training for going wrong, and finds out where it did."""
