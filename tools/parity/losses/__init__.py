"""Reference values for `loss.py`: inputs, losses by loops, libraries to check them, cases."""
