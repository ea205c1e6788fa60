"""Shared by several tests: true values to compare with, toy environments, recorded datasets."""
