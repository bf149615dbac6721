"""Every tunable of the project, typed. Sections are in sections.py, kinds of candidates in candidates.py."""

from rectory.params.load import dump_params, load_params, parse_params
from rectory.params.sections import Params

__all__ = ["Params", "dump_params", "load_params", "parse_params"]
