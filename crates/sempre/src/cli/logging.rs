//! Logs on standard error. Set up by the commands only: libraries never install a subscriber.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing::Level;
use tracing_subscriber::fmt::Subscriber;

/// How logs look and how much is logged.
#[derive(Args, Clone, Copy)]
pub(crate) struct LogOptions {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", ignore_case = true)]
    pub(crate) log_format: LogFormat,
    /// The least important lines that are logged
    #[arg(long, value_enum, default_value_t = LogLevel::Warn, value_name = "LEVEL", ignore_case = true)]
    pub(crate) log_level: LogLevel,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
    Pretty,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Never,
}

impl LogOptions {
    /// Sends the process's logs to standard error; does nothing if a subscriber is there already.
    pub(crate) fn install(self) {
        let level = match self.log_level {
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Info => Level::INFO,
            LogLevel::Warn => Level::WARN,
            LogLevel::Error => Level::ERROR,
            LogLevel::Never => return,
        };
        // A line that cannot be written, on a full disk for example, is lost. Told of on standard error as well, it would be a panic of
        // whatever had something to say.
        let builder = Subscriber::builder()
            .with_max_level(level)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .log_internal_errors(false);
        // An embedding program may have its own subscriber; then that one is right.
        let _ = match self.log_format {
            LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
            LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
            LogFormat::Pretty => tracing::subscriber::set_global_default(builder.compact().finish()),
        };
    }
}
