"""Values by formula: the same numbers in Python and Rust without a file to carry them.

For a tensor called `name` with elements i = 0, 1, ... in row-major order:

    h = FNV-1a 64 of the UTF-8 bytes of `name`
    z = splitmix64(h + i * 0x9e3779b97f4a7c15)                     (wrapping u64)
    u = (z >> 11) * 2^-53                                          in [0, 1)

    splitmix64(x): z = x + 0x9e3779b97f4a7c15
                   z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
                   z = (z ^ (z >> 27)) * 0x94d049bb133111eb
                   z ^ (z >> 31)

`symmetric` gives 2u - 1; `parameter` turns u into weights, biases and running statistics;
`tiled_parameter` does so with u from one table, for networks of many millions.
"""

import math

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def bits(name, count):
    """The first `count` 64-bit outputs z for `name`."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64) * GOLDEN + GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name, shape):
    """u in [0, 1), float64, of the given shape."""
    z = bits(name, math.prod(shape))
    return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def symmetric(name, shape):
    """2u - 1 in [-1, 1)."""
    return 2.0 * uniform(name, shape) - 1.0


def parameter(name, shape):
    """The value of a network's tensor, by the last part of its name and its rank:

    running_mean              0.1 (2u - 1)
    running_var               1 + 0.5 u
    bias                      0.1 (2u - 1)
    weight of rank 1 (norm)   1 + 0.2 (2u - 1)
    any other                 (2u - 1) sqrt(3 / fan_in), fan_in = product of the dimensions 1..
    """
    return scaled(name, shape, uniform(name, shape))


def scaled(name, shape, u):
    """`parameter` of given u, of any shape."""
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 1.0 + 0.5 * u
    if last in ("running_mean", "bias"):
        return 0.1 * (2.0 * u - 1.0)
    if len(shape) == 1:
        return 1.0 + 0.2 * (2.0 * u - 1.0)
    return (2.0 * u - 1.0) * math.sqrt(3.0 / math.prod(shape[1:]))


TABLE = 65521


def tiled_parameter(name, shape):
    """As `parameter`, but element i has the u of element (h + i) mod 65521 of a tensor `table` of
    65521 elements. 65521 is a prime, so that no two rows of a matrix are alike."""
    table = np.roll(scaled(name, shape, uniform("table", (TABLE,))), -(fnv1a64(name) % TABLE))
    return np.resize(table, shape)


def fill_module(module, value=None):
    """Overwrites all parameters and floating-point buffers of a torch module."""
    import torch

    value = value or parameter
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(np.asarray(value(name, tuple(tensor.shape)))))
