"""tmp"""


def measure(rounds):
    return {}
