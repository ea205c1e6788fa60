from typing import Any

import numpy as np

class TypeID:
    def equal(self, typeid: TypeID) -> bool: ...

STD_REF_OBJ: TypeID

def py_create(dt: np.dtype[Any], logical: bool = ...) -> TypeID: ...
