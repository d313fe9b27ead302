"""What the operator says: ``conf/agent.yaml``, ``conf/dids/*.yaml`` and the environment.

config = load("conf")            # or ConfigError, with every problem at once
did = config.find("+49 30 1234") # or None: refuse the call with UNALLOCATED_NUMBER
"""

from esl_agent.config.addresses import address
from esl_agent.config.did import DidConfig, DidSettings, EngineSpec, EngineSpecs, MediaSettings
from esl_agent.config.load import Config, check, load
from esl_agent.config.service import ServiceSettings

__all__ = [
    "Config",
    "DidConfig",
    "DidSettings",
    "EngineSpec",
    "EngineSpecs",
    "MediaSettings",
    "ServiceSettings",
    "address",
    "check",
    "load",
]
