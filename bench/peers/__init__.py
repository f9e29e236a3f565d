"""Other servers to measure beside ours, each at its durable setting. Nothing of theirs is in this repository: it is installed by package
name into a cache folder, or found at a path or an address that is given."""
