"""RetNet (Sun et al. 2023, arXiv 2307.08621) for transformers. Importing this package makes `AutoModelForCausalLM` load a saved one."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from models.retnet.cache import RetNetCache
from models.retnet.configuration import RetNetConfig
from models.retnet.modelling import RetNetForCausalLM, RetNetModel

__all__ = ["RetNetCache", "RetNetConfig", "RetNetForCausalLM", "RetNetModel"]

AutoConfig.register(RetNetConfig.model_type, RetNetConfig)
AutoModel.register(RetNetConfig, RetNetModel)
AutoModelForCausalLM.register(RetNetConfig, RetNetForCausalLM)
