from minari.testing import StorageConformance


class TestNpz(StorageConformance):
    data_format = "npz"
