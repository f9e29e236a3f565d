"""What is installed, of which version. The version of Restate's Rust SDK is in restate-service/Cargo.toml."""

# Go module go.temporal.io/server; needs Go 1.26.8.
TEMPORAL_SERVER = "1.32.1"
# npm package @restatedev/restate-server.
RESTATE_SERVER = "1.7.12"
# PyPI package dbos, and the driver for PostgreSQL that it uses.
DBOS = "3.4.0"
# PyPI package temporalio: the official Python SDK.
TEMPORAL_PYTHON_SDK = "1.35.0"
