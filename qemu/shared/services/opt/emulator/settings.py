"""What the services start with."""

CONFIG = "/media/config/runtime.env"
SECRETS = ["/etc/emulator/secrets.env", "/run/emulator/secrets.env"]


def key_values(path):
    """A file of KEY=value lines as a dictionary; one that is not there is empty."""
    try:
        with open(path) as lines:
            return dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)
    except FileNotFoundError:
        return {}


def secrets():
    """The image's placeholders, and over them what this start has brought."""
    return {key: value for path in SECRETS for key, value in key_values(path).items()}


def config():
    """What only the host knows, which says it on the config disk."""
    return key_values(CONFIG)


def port(service):
    """Where a service listens: the config disk may name other first digits."""
    return int(config().get("STACK_EMULATOR_PORT_PREFIX", "81") + service)
