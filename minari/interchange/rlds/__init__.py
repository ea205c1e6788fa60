"""RLDS: directories of TensorFlow Datasets with one record for each episode."""
