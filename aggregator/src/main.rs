//! The command line of the aggregator.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use naru_aggregator::{search, standalone};
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
    /// Search what was indexed.
    Search(search::command::SearchArgs),
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
    // Before any TLS: there is one provider, and the others are not in the binary.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("naru-aggregator: a TLS provider is installed already");
        return ExitCode::from(FAILED);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("naru-aggregator: start the runtime: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match command_line.command {
        Command::Standalone(arguments) => runtime.block_on(run_standalone(arguments)),
        Command::Search(arguments) => search::command::run(&arguments),
    }
}

async fn run_standalone(arguments: standalone::Arguments) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        eprintln!("naru-aggregator: signals cannot be received");
        return ExitCode::from(FAILED);
    };
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is in flight is finished");
    };
    match standalone::run(arguments, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru-aggregator: {error}");
            let bad = matches!(error, standalone::StandaloneError::Argument(_));
            ExitCode::from(if bad { BAD_CONFIGURATION } else { FAILED })
        }
    }
}
