"""Trajectories of imitation, in Arrow and NPZ files."""
