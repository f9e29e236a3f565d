"""Types of command-line arguments."""

import argparse


def numbers(text: str) -> list[int]:
    """Such as 1,16,64."""
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no list of numbers from 1 up, such as 1,16,64")
    return found


def positive(text: str) -> float:
    """Seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"`{text}` is no number of seconds above 0")
    return value
