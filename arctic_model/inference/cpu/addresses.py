"""Contiguous arrays at addresses, in functions that numba compiles. An address of 0 stands for an array that a layer
lacks."""

from typing import no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic, overload
from numba.np.numpy_support import carray

from arctic_model.inference.cpu import row_kernels
from arctic_model.inference.cpu.row_kernels import OPTIONS
from arctic_model.machine_code import compiler

compiled = compiler(row_kernels, **OPTIONS)


@intrinsic
@no_type_check
def pointer(typing, address):  # noqa: ARG001 - numba's own signature
    """An address as `carray` takes it."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), code


@no_type_check
def weights_at(address, shape, like):
    """The matrices at `address`, of the dtype of `like`."""
    raise NotImplementedError


@overload(weights_at)
@no_type_check
def _compiled_weights(address, shape, like):  # noqa: ARG001 - numba's own signature
    dtype = np.uint16 if like.dtype == types.uint16 else np.float32
    return lambda address, shape, like: carray(pointer(address), shape, dtype)  # noqa: ARG005 - numba's own signature


@compiled
@no_type_check
def numbers_at(address, count):
    """`count` float32 at `address`, none if that is 0."""
    return carray(pointer(address), (count if address else 0,), np.float32)
