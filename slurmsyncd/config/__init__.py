"""The configuration: typed sections, and the functions that read them."""

from slurmsyncd.config.load import load_config, read_config
from slurmsyncd.config.sections import (
    DEFAULT_FILE,
    ClusterConfig,
    Config,
    DaemonConfig,
    HookConfig,
    SinkConfig,
    SlurmConfig,
    WebConfig,
)

__all__ = [
    "DEFAULT_FILE",
    "ClusterConfig",
    "Config",
    "DaemonConfig",
    "HookConfig",
    "SinkConfig",
    "SlurmConfig",
    "WebConfig",
    "load_config",
    "read_config",
]
