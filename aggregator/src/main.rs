//! The command line of the aggregator.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use naru_aggregator::config::{Config, LogFormat};
use naru_aggregator::{admin, app, search, standalone};
use tokio::signal::unix::{SignalKind, signal};

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;

/// A log pipeline for Kubernetes: tails, queues durably, delivers every line once.
#[derive(Debug, Parser)]
#[command(name = "naru-aggregator", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forwarder, aggregator and store in one process.
    Standalone(standalone::Arguments),
    /// Receive from forwarders and deliver to Elasticsearch, until SIGTERM.
    Run(ConfigFile),
    /// Say whether a configuration is valid, and what holds; nothing is started.
    Check(ConfigFile),
    /// Search what was indexed.
    Search(search::command::SearchArgs),
    /// Look at what waits for delivery, verify it, deliver again what was delivered.
    #[command(subcommand)]
    Queue(admin::command::QueueCommand),
    /// Look at the records that could not be delivered, and try them again.
    #[command(subcommand)]
    DeadLetters(admin::command::LettersCommand),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration, YAML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            let asked = !error.use_stderr();
            // Nobody reads it when the terminal is gone.
            error.print().ok();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(BAD_CONFIGURATION) };
        }
    };
    match command_line.command {
        Command::Standalone(arguments) => {
            serve(LogFormat::Text, async |stop| match standalone::run(arguments, stop).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error @ standalone::StandaloneError::Argument(_)) => refused(&error),
                Err(error) => failed(&error),
            })
        }
        Command::Run(ConfigFile { config }) => match load(&config) {
            Err(error) => refused(&error),
            Ok(config) => serve(config.log, async |stop| match app::run(config, stop).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }),
        },
        Command::Check(ConfigFile { config }) => match load(&config) {
            Err(error) => refused(&error),
            Ok(loaded) => print(&config, &loaded),
        },
        Command::Search(arguments) => match install_tls() {
            Ok(()) => search::command::run(&arguments),
            Err(code) => code,
        },
        Command::Queue(command) => admin::command::queue(&command),
        Command::DeadLetters(command) => admin::command::letters(&command),
    }
}

fn load(path: &Path) -> Result<Config, naru_aggregator::config::ConfigError> {
    Config::load(path, &|name| std::env::var(name).ok())
}

fn refused(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("naru-aggregator: {error}");
    ExitCode::from(BAD_CONFIGURATION)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut sentence = error.to_string();
    // Some errors say their cause themselves.
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let cause = cause.to_string();
        if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    eprintln!("naru-aggregator: {sentence}");
    ExitCode::from(FAILED)
}

fn print(path: &Path, config: &Config) -> ExitCode {
    let mut text = format!("{}: ok\n", path.display());
    for (key, value) in config.effective() {
        text.push_str(&format!("  {key}: {value}\n"));
    }
    // Nobody reads it when the terminal is gone.
    std::io::stdout().write_all(text.as_bytes()).ok();
    ExitCode::SUCCESS
}

/// Before any TLS: there is one provider, and the others are not in the binary.
fn install_tls() -> Result<(), ExitCode> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| {
        eprintln!("naru-aggregator: a TLS provider is installed already");
        ExitCode::from(FAILED)
    })
}

/// Runs a server, which is told by a signal to stop; a second signal ends the process at once.
fn serve<S>(log: LogFormat, server: S) -> ExitCode
where
    S: AsyncFnOnce(std::pin::Pin<Box<dyn Future<Output = ()>>>) -> ExitCode,
{
    if let Err(code) = install_tls() {
        return code;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("naru-aggregator: start the runtime: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let events = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    match log {
        LogFormat::Text => events.init(),
        LogFormat::Json => events.json().flatten_event(true).init(),
    }
    runtime.block_on(async {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            eprintln!("naru-aggregator: signals cannot be received");
            return ExitCode::from(FAILED);
        };
        let mut next = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let shutdown = async move {
            next().await;
            tracing::info!("stopping: what is in flight is finished");
            tokio::spawn(async move {
                next().await;
                eprintln!("naru-aggregator: told twice, ending now; what is queued is safe");
                std::process::exit(i32::from(FAILED));
            });
        };
        server(Box::pin(shutdown)).await
    })
}
