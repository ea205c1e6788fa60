"""What several tests share: true values to compare with, toy environments, recorded datasets."""
