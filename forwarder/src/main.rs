//! The command line: `naru-forwarder run|check|files --config FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use naru_forwarder::config::{Config, Since};
use naru_forwarder::files::FileRow;
use naru_forwarder::{files, standby};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
naru-forwarder run   --config FILE   tail and send, until SIGTERM
naru-forwarder check --config FILE   say whether a configuration is valid
naru-forwarder files --config FILE   what is tailed, and how far; --json: a list of objects

run --since 24h|TIME passes over files that are new to the checkpoint and were last written before that.
";
const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    match arguments() {
        Ok(Some(arguments)) => execute(&arguments),
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprint!("naru-forwarder: {reason}\n{USAGE}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

/// What was asked for.
struct Arguments {
    command: String,
    config: PathBuf,
    json: bool,
    since: Option<Since>,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let mut command = None;
    let mut config = None;
    let mut json = false;
    let mut since = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--config" => {
                config = Some(arguments.next().ok_or("--config needs a file")?.into());
            }
            "--json" => json = true,
            "--since" => {
                let text = arguments.next().ok_or("--since needs an age or a time")?;
                let parsed = Since::parse(&text);
                since =
                    Some(parsed.ok_or(format!("--since {text:?} is neither an age nor a time"))?);
            }
            "run" | "check" | "files" if command.is_none() => command = Some(argument),
            other => return Err(format!("unexpected argument {other:?}")),
        }
    }
    let command = command.ok_or("a command is missing")?;
    if json && command != "files" {
        return Err("--json is for files".to_owned());
    }
    let config = config.ok_or("--config FILE is missing")?;
    if since.is_some() && command != "run" {
        return Err("--since is for run".to_owned());
    }
    Ok(Some(Arguments { command, config, json, since }))
}

fn execute(arguments: &Arguments) -> ExitCode {
    let path = &arguments.config;
    let mut config = match Config::load(path, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("naru-forwarder: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    config.since = arguments.since.clone().or(config.since);
    match arguments.command.as_str() {
        "check" => {
            for doubt in config.doubts() {
                eprintln!("naru-forwarder: {}: warning: {doubt}", path.display());
            }
            println!("{}: valid", path.display());
            if standby::is_locked(&config.data_dir) {
                let directory = config.data_dir.display();
                println!(
                    "a forwarder runs on {directory}; another one would stand by until it ends"
                );
            }
            ExitCode::SUCCESS
        }
        "files" => print_files(&config, arguments.json),
        _ => run(config),
    }
}

fn print_files(config: &Config, json: bool) -> ExitCode {
    let print = |rows: &[FileRow]| match json {
        true => println!("{}", serde_json::to_string(rows).unwrap_or_default()),
        false => print!("{}", files::table(rows)),
    };
    match files::ask(&config.data_dir) {
        Ok(Some(rows)) => print(&rows),
        Ok(None) => match files::of_checkpoint(config) {
            Ok(rows) => {
                eprintln!("no forwarder is running; this is what its checkpoint says");
                print(&rows);
            }
            Err(error) => {
                eprintln!("naru-forwarder: read the checkpoint: {error}");
                return ExitCode::from(FAILED);
            }
        },
        Err(error) => {
            eprintln!("naru-forwarder: ask the running forwarder: {error}");
            return ExitCode::from(FAILED);
        }
    }
    ExitCode::SUCCESS
}

fn run(config: Config) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let shutdown = async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("stopping: what is in flight is finished");
            };
            naru_forwarder::app::run(config, shutdown).await
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: Box<dyn std::error::Error> = error;
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("naru-forwarder: {error}{cause}");
            ExitCode::from(FAILED)
        }
    }
}
