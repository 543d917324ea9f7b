"""What a function costs: time, memory and error in one row, here or compiled for a device that is not here.

    >>> import jax, jax.numpy as jnp
    >>> from jaxinfo import bench
    >>> row = bench.measure(jax.nn.softmax, jnp.zeros((64, 1000)), seconds=0.0, peak=False)
    >>> row.output_bytes
    256000

measure        a Measurement: compile time, time of synchronised runs, memory, operations, share of the roofline, error
compare        several functions interleaved: ratios of their times with the spread
roofline       bandwidth and matmul rate of this device, measured
compile_for    temporaries, operations, collectives and estimated time on TPUs, whole pods of them and the H100
mesh_for       a mesh of such devices, for sharded functions

Nothing here knows a loss of jaxinfo.
"""

from jaxinfo.bench._compile_for import Compiled as Compiled
from jaxinfo.bench._compile_for import compile_for as compile_for
from jaxinfo.bench._measure import Interrupted as Interrupted
from jaxinfo.bench._measure import compare as compare
from jaxinfo.bench._measure import measure as measure
from jaxinfo.bench._measurement import Comparison as Comparison
from jaxinfo.bench._measurement import Measurement as Measurement
from jaxinfo.bench._roofline import Roofline as Roofline
from jaxinfo.bench._roofline import roofline as roofline
from jaxinfo.bench._rounds import Candidate as Candidate
from jaxinfo.bench._rounds import Ratio as Ratio
from jaxinfo.bench._targets import MissingExtraError as MissingExtraError
from jaxinfo.bench._targets import mesh_for as mesh_for
