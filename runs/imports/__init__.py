"""Runs that other trackers recorded: TensorBoard, CSV loggers, MLflow, W&B. Their files are only read."""
