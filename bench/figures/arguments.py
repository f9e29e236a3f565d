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


def positive(text: str) -> int:
    """Such as a number of seconds, or of rounds."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 1 up")
    return int(text)
