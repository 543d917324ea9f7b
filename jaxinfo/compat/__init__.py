"""Other libraries' signatures on top of jaxinfo's own functions: `jaxinfo.compat.torch`."""

from jaxinfo.compat import torch as torch
