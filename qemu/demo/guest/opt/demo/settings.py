"""What the services start with."""

SECRETS = ["/etc/hotboot-demo/secrets.env", "/run/hotboot-demo/secrets.env"]


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
